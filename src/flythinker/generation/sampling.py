"""How texts are sampled."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sampling:
    """Decoding settings; the defaults are the paper's (temperature 0.8, top-p 0.95).

    >>> from flythinker import Sampling
    >>> Sampling(max_new_tokens=300, temperature=0).seed  # greedy
    0

    Attributes:
        max_new_tokens: longest response, in tokens.
        temperature: 0 decodes greedily.
        seed: of the sampling; the same seed gives the same text.
        min_new_tokens: shortest response, in tokens; 0 = it ends where it ends. No token and no
            stop string ends it earlier.
        top_k: draw among the k likeliest tokens; 0 = all.
        min_p: draw among the tokens at least this fraction as likely as the likeliest; 0 = all.
        repetition_penalty: above 1, tokens already in prompt or response get less likely.
        presence_penalty, frequency_penalty: what a token's logit loses once it is in the response,
            and for each time that it is there.
        logit_bias: pairs of a token and what is added to its logit.
        ignore_eos: go on where the response would end by itself; `Writer` only.
        stop_token_ids: tokens that end the response too, and are left out; `Writer` only.
        stop: the response ends before the first of these; `Writer` only.
        fusion_weight: λ of this text; `None`: the model's own.
        logprobs: how many of the likeliest tokens to tell beside each token's own log-probability;
            `None`: tell no log-probabilities. `Writer` only.
        prompt_logprobs: as `logprobs`, of the tokens of the prompt that the Generator reads.
            `max_new_tokens` may then be 0. `Writer` only.
        effects: tell how far thoughts moved the prediction of each token, and the words near its
            thought: the text then takes two slots. `Writer` only.
    """

    max_new_tokens: int = 512
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0
    min_new_tokens: int = 0
    top_k: int = 0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    fusion_weight: float | None = None
    logprobs: int | None = None
    effects: bool = False
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()
    prompt_logprobs: int | None = None

    def ends(self, eos: int) -> list[int]:
        """The tokens that end a response of a model that ends its own with `eos`."""
        return [*(() if self.ignore_eos else (eos,)), *self.stop_token_ids]

    def for_text(self, number: int) -> "Sampling":
        """How text `number` of several is drawn: with a seed of its own, `seed` + `number`.

        So a text depends on its place in a file or a request, and on no batch, shard or resumption.
        """
        seed = (self.seed + number + 2**63) % 2**64 - 2**63  # an int64 that wraps around
        return replace(self, seed=seed)
