"""How far a training is, in lines where transformers' bars have no place."""

from typing import Any

from transformers import TrainerCallback, TrainerState

from flythinker.progress import Lines


class ProgressLines(TrainerCallback):
    """Lines with step, losses and time left, of the first process; see `flythinker.progress`.

    The losses are the newest that were logged (every `logging_steps`) and evaluated. Time left is
    that of the steps, without the evaluations to come; steps from before a resumption count as
    done and not for the pace.
    """

    def __init__(self) -> None:
        self._training: Lines | None = None
        self._evaluation: Lines | None = None
        self._losses: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Begin the training's lines."""
        if state.is_world_process_zero:
            self._training = Lines("train", state.max_steps, state.global_step, "/step")

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Count a step."""
        if self._training is not None:
            self._training.advance(state.global_step)

    def on_log(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Keep the losses for the lines to come."""
        for key, name in (("loss", "loss"), ("eval_loss", "held-out")):
            if key in kwargs["logs"]:
                self._losses[key] = f"{name} {kwargs['logs'][key]:.3f}"
        if self._training is not None:
            self._training.note = "  ".join(self._losses.values())

    def on_prediction_step(
        self, args: Any, state: TrainerState, control: Any, **kwargs: Any
    ) -> None:
        """Count a batch of an evaluation; its lines stand in for the training's."""
        if not state.is_world_process_zero:
            return
        if self._evaluation is None:
            if self._training is not None:
                self._training.pause()
            self._evaluation = Lines("evaluation", len(kwargs["eval_dataloader"]), unit="/batch")
        self._evaluation.advance(self._evaluation.done + 1)

    def on_evaluate(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Go on with the training's lines."""
        if self._evaluation is not None:
            self._evaluation.end()
            self._evaluation = None
        if self._training is not None:
            self._training.go_on()

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Say how long it took."""
        if self._training is not None:
            self._training.end()
            self._training = None

    def stop(self) -> None:
        """End all lines; for a training that failed, which transformers tells no callback."""
        for lines in (self._training, self._evaluation):
            if lines is not None:
                lines.end(finished=False)
        self._training = self._evaluation = None
