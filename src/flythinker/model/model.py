"""FlyThinker: a causal LM made of two causal LMs, a Generator and a Reasoner (arXiv 2512.06690).

    ids ──► reasoner ──► thoughts r ──► rescale ──► shift right by one ──► × λ ──┐
     └────► generator embeddings e ───────────────────────────────────────────── + ──► generator

A thought depends on tokens only, never on earlier thoughts: training is one parallel pass of each
part, and in decoding the two parts of a step do not wait for each other.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPast

from flythinker.model.cache import CACHE_NAME, FlyThinkerCache, positions
from flythinker.model.config import FlyThinkerConfig
from flythinker.model.fusion import Fusion, shift
from flythinker.model.generation import ThinkingGenerationMixin
from flythinker.model.loss import (
    SummedLoss,
    can_be_chunked,
    chunked_cross_entropy,
    kept,
    next_token_targets,
)
from flythinker.model.outputs import FlyThinkerOutput, Reasoning
from flythinker.model.own_prompt import align, own_inputs
from flythinker.model.parts import (
    backbone_of,
    check_same_table,
    load_parts,
    table_name,
)


class FlyThinkerForCausalLM(PreTrainedModel, ThinkingGenerationMixin):
    """Generator + Reasoner as one Hugging Face causal LM.

    Attributes:
        generator: the causal LM that writes.
        reasoner: the backbone whose final hidden states become thoughts; `None` for plain SFT.
        projection: the d_R → d_G map, `None` with `projection="pad"`.
        summed_loss: what takes losses without logits; `None`: `summed_cross_entropy`.

    >>> import torch
    >>> from flythinker import FlyThinkerForCausalLM
    >>> model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
    ...     "smollm2-135m", "smollm2-135m", reasoner_layers=8, dtype=torch.float32
    ... )
    >>> ids = torch.tensor([[504, 3575]])
    >>> model(input_ids=ids, labels=ids).logits.shape
    torch.Size([1, 2, 49152])
    """

    config_class = FlyThinkerConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True
    _supports_attention_backend = True
    summed_loss: SummedLoss | None = None

    def __init__(
        self,
        config: FlyThinkerConfig,
        generator: PreTrainedModel | None = None,
        reasoner: PreTrainedModel | None = None,
    ) -> None:
        super().__init__(config)
        self.generator = generator or AutoModelForCausalLM.from_config(config.generator_config)
        self.reasoner = reasoner
        self.projection: nn.Module | None = None
        if config.reasoner_config is not None:
            self.reasoner = reasoner or AutoModel.from_config(config.reasoner_config)
            if config.projection == "linear":
                self.projection = nn.Linear(config.thought_size, config.hidden_size, bias=False)
        if config.share_embeddings:
            self._tied_weights_keys = {
                table_name("reasoner", self.reasoner): table_name("generator", self.generator)
            }
        for part in (generator, reasoner):  # given parts keep their weights
            for module in part.modules() if part is not None else ():
                module._is_hf_initialized = True
        self.post_init()

    @classmethod
    def is_custom_code(cls) -> bool:
        """No: what `_init_weights` calls knows which weights were loaded.

        Of other code transformers leaves out every part of a model that holds no weight itself, and
        with it what a family computes anew when it is loaded (Falcon-H1's multipliers).
        """
        return False

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoModel") -> None:
        """Nothing: see `FlyThinkerConfig.register_for_auto_class`."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if module is self.projection:
            init.zeros_(module.weight)

    @classmethod
    def from_generator_reasoner_pretrained(
        cls,
        generator: str | PreTrainedModel,
        reasoner: str | PreTrainedModel | None,
        fusion_weight: float = 0.5,
        injection: str = "global",
        projection: str = "pad",
        reasoner_layers: int | None = None,
        share_embeddings: bool = False,
        **kwargs: Any,
    ) -> "FlyThinkerForCausalLM":
        """Join two pretrained models.

        Args:
            generator: a local folder, a hub name, `"smollm2-135m"` or a loaded model (used as it
                is, not copied).
            reasoner: the same; `None` gives the Generator alone, for SFT; set `fusion_weight=0`
                with it.
            fusion_weight: this and the next two: see `FlyThinkerConfig`.
            injection: where thoughts enter.
            projection: how a thought meets an embedding of another width.
            reasoner_layers: keep only the first N layers of the Reasoner.
            share_embeddings: one embedding table for both, see `FlyThinkerConfig`.
            kwargs: passed to `from_pretrained` of both parts (`dtype`, …). A `device_map` of
                {"generator": 0, "reasoner": 1} gives each part a device of its own.

        Raises:
            ValueError: different tokenizers or vocabularies, a bad setting, `share_embeddings` of
                tables that are not the same, or a family that cannot be joined, see `check_family`.
        """
        written_by, thought_by = load_parts(generator, reasoner, reasoner_layers, **kwargs)
        config = FlyThinkerConfig(
            generator_config=written_by.config,
            reasoner_config=thought_by.config if thought_by is not None else None,
            fusion_weight=fusion_weight,
            injection=injection,
            projection=projection,
            share_embeddings=share_embeddings,
        )
        if share_embeddings:
            check_same_table(written_by, thought_by)
        model = cls(config, written_by, thought_by)
        if model.projection is not None and thought_by is not None:
            model.projection.to(written_by.device, thought_by.dtype)
        model.generation_config = written_by.generation_config
        return model.eval()

    def get_input_embeddings(self) -> nn.Embedding:
        """The Generator's embedding table."""
        return self.generator.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the Generator's embedding table."""
        self.generator.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Linear:
        """The Generator's head."""
        return self.generator.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the Generator's head."""
        self.generator.set_output_embeddings(value)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Resize both parts' tables, which must go on sharing one vocabulary."""
        if self.reasoner is not None:
            self.reasoner.resize_token_embeddings(*args, **kwargs)
        return self.generator.resize_token_embeddings(*args, **kwargs)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: FlyThinkerCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        fusion_weight: float | Tensor | None = None,
        prompt_length: Tensor | None = None,
        reasoner_input_ids: Tensor | None = None,
        reasoner_attention_mask: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | None = None,
        loss_only: bool = False,
        draft_loss_weight: float = 0.0,
        inputs_embeds: None = None,
        return_dict: bool | None = None,
        past_key_values: FlyThinkerCache | None = None,
        **kwargs: Any,
    ) -> FlyThinkerOutput:
        """One pass of both parts over new tokens.

        Args:
            input_ids: int64 [batch, seq].
            attention_mask: [batch, past + seq], 1 = real token; padding may be on either side.
                `None` = all real.
            position_ids: int64 [batch, seq]; by default counted over the real tokens. Packed rows
                restart at 0 at each sequence, with `attention_mask=None`.
            cache: the tokens before; made anew when `use_cache` and not given.
            labels: int64 [batch, seq], -100 = not learned; the loss shifts them as usual.
            fusion_weight: λ for this call, by default the config's.
            prompt_length: int64 [batch] (or [batch, seq] for packed rows), needed by the
                injections "input" and "output" and by `reasoner_input_ids`.
            reasoner_input_ids: int64 [batch, seq'], what the Reasoner reads instead: a prompt of
                its own, then the response tokens of `input_ids`, if there are any. Thoughts then
                enter in the response only. With a cache it is given once, with the prompt.
            reasoner_attention_mask: [batch, seq'], of `reasoner_input_ids`; `None` = all real.
            logits_to_keep: as in transformers: the last n positions (0 = all), or an int64 tensor
                [n] of the columns whose logits are wanted; with `labels`, the loss counts these.
            num_items_in_batch: labelled tokens of the whole optimizer step, given by `Trainer`.
            loss_only: with `labels`, leave out the logits (`None`) where the loss can do without
                them, see `chunked_cross_entropy`.
            draft_loss_weight: adds so many times the Reasoner's own next-token loss, of its
                `draft_logits`. Not in the paper: it makes the Reasoner's drafts good.
            inputs_embeds: refused; PEFT passes `None`.
            past_key_values: another name of `cache`, the one that transformers had before 5.24.
            kwargs: to both parts (`output_hidden_states`, flash-attention arguments, …).

        Returns: `FlyThinkerOutput`; logits [batch, seq or n, vocab].

        Raises:
            ValueError: see `thought_gate`, `FlyThinkerCache.last_thought`, `FlyThinkerConfig`.
        """
        if input_ids is None or inputs_embeds is not None:
            raise ValueError("thoughts are made from tokens: pass input_ids, not inputs_embeds")
        cache = past_key_values if cache is None else cache
        if cache is None and use_cache:
            cache = FlyThinkerCache(self.config)
        inputs, reasoning = self._generator_inputs(
            input_ids,
            attention_mask,
            position_ids,
            cache,
            fusion_weight,
            prompt_length,
            reasoner_input_ids,
            reasoner_attention_mask,
            **kwargs,
        )
        targets = None if labels is None else next_token_targets(labels, logits_to_keep)
        logits = loss = None
        if loss_only and targets is not None and can_be_chunked(self.generator):
            outputs = backbone_of(self.generator)(**inputs)
            hidden = kept(outputs.last_hidden_state, logits_to_keep)
            head = self.get_output_embeddings().weight
            loss = chunked_cross_entropy(
                hidden, head, targets, num_items_in_batch, self.summed_loss
            )
        else:
            outputs = self.generator(**inputs, logits_to_keep=logits_to_keep)
            logits = outputs.logits
            if targets is not None:
                loss = self.loss_function(
                    logits=logits,
                    labels=None,
                    vocab_size=logits.shape[-1],
                    shift_labels=targets,
                    num_items_in_batch=num_items_in_batch,
                )
        if cache is not None:
            cache.tokens += input_ids.shape[1]
        if draft_loss_weight and targets is not None and reasoning is not None:
            assert self.reasoner is not None
            assert loss is not None
            head = self.reasoner.get_input_embeddings().weight
            drafts = kept(reasoning.hidden, logits_to_keep)
            if reasoner_input_ids is not None:  # it has read nothing of the Generator's prompt
                columns = positions(input_ids, attention_mask, 0)
                assert prompt_length is not None
                in_prompt = columns < prompt_length[:, None] - 1
                targets = targets.masked_fill(kept(in_prompt, logits_to_keep), -100)
            draft_loss = chunked_cross_entropy(
                drafts, head, targets, num_items_in_batch, self.summed_loss
            )
            loss = loss + draft_loss_weight * draft_loss
        return FlyThinkerOutput(
            loss=loss,
            logits=logits,
            hidden_states=getattr(outputs, "hidden_states", None),
            attentions=getattr(outputs, "attentions", None),  # state-space models have none
            thoughts=reasoning.thoughts if reasoning is not None else None,
            reasoner_hidden_state=reasoning.hidden if reasoning is not None else None,
            **{CACHE_NAME: cache},
        )

    @property
    def fusion(self) -> Fusion:
        """How thoughts enter, as config, projection and embedding table say now."""
        return Fusion(self.config, self.projection, self.get_input_embeddings())

    def draft_logits(self, hidden: Tensor) -> Tensor:
        """The Reasoner's own guess at the next token: its embedding table as a head (paper: none).

        `hidden` [..., d_R] is its last hidden state; logits [..., vocab].
        """
        assert self.reasoner is not None
        return nn.functional.linear(hidden, self.reasoner.get_input_embeddings().weight)

    def backbone(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        fusion_weight: float | Tensor | None = None,
        prompt_length: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """All but the head, without cache: what `base_model` is of any transformers causal LM.

        For losses that apply the head themselves, in tiles (TRL's trainers do). Arguments as in
        `forward`; `last_hidden_state` is [batch, seq, d_G].
        """
        inputs, _ = self._generator_inputs(
            input_ids,
            attention_mask,
            position_ids,
            None,
            fusion_weight,
            prompt_length,
            **kwargs,
        )
        return backbone_of(self.generator)(**inputs)

    def _generator_inputs(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        cache: FlyThinkerCache | None,
        fusion_weight: float | Tensor | None,
        prompt_length: Tensor | None,
        reasoner_input_ids: Tensor | None = None,
        reasoner_attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[dict[str, Any], Reasoning | None]:
        """What the Generator is called with, and the thoughts in it."""
        if position_ids is None:
            past = cache.get_seq_length() if cache is not None else 0
            position_ids = positions(input_ids, attention_mask, past)
        embeds = self.get_input_embeddings()(input_ids)
        weight = self.config.fusion_weight if fusion_weight is None else fusion_weight
        reasoning = None
        if not isinstance(weight, int | float) or weight != 0:
            reasoning = self.reason(
                input_ids,
                attention_mask,
                position_ids,
                cache,
                prompt_length,
                reasoner_input_ids,
                reasoner_attention_mask,
                **kwargs,
            )
            embeds = self.fusion.add(embeds, reasoning.entering, reasoning.gate, weight)
        inputs = {
            **kwargs,
            "inputs_embeds": embeds,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            CACHE_NAME: cache.generator if cache is not None else None,
            "use_cache": cache is not None,
        }
        return inputs, reasoning

    def reason(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: FlyThinkerCache | None = None,
        prompt_length: Tensor | None = None,
        reasoner_input_ids: Tensor | None = None,
        reasoner_attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Reasoning:
        """The Reasoner's half of a pass; arguments as in `forward`."""
        if self.reasoner is None:
            raise ValueError("this model has no Reasoner: fusion_weight must be 0")
        fusion = self.fusion
        if position_ids is None:
            past = cache.get_seq_length() if cache is not None else 0
            position_ids = positions(input_ids, attention_mask, past)
        inputs: dict[str, Any] = {
            **kwargs,
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            "use_cache": cache is not None,
        }
        own, own_mask = reasoner_input_ids, reasoner_attention_mask
        own_prompt = own is not None or (cache is not None and cache.reasoner_mask is not None)
        if own_prompt:
            inputs |= own_inputs(
                fusion, cache, input_ids, attention_mask, prompt_length, own, own_mask
            )
        device = self.reasoner.device  # the Generator's, or a second one
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in inputs.items()}
        moved[CACHE_NAME] = cache.reasoner if cache is not None else None
        hidden = self.reasoner(**moved).last_hidden_state.to(input_ids.device)
        if own is not None:
            hidden = align(hidden, inputs["attention_mask"], position_ids, attention_mask)
        if cache is not None and cache.norm is not None:
            fusion.norm = cache.norm  # measuring it reads the whole table: once a text
        thoughts = fusion.normalize(hidden)
        entering = shift(thoughts, None if cache is None else cache.last_thought())
        gate = fusion.gate(position_ids, attention_mask, prompt_length, own_prompt)
        if cache is not None:
            cache.norm = fusion.norm
            cache.append(thoughts)
        return Reasoning(hidden, thoughts, entering, gate)
