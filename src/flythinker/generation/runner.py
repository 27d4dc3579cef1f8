"""Passes of both parts over the texts in the slots."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from flythinker.errors import FlyThinkerError
from flythinker.generation.cache.prefix import Prefix, PrefixCache
from flythinker.generation.cache.slots import ATTENTION, SlotCache
from flythinker.generation.cpu.int8 import Int8Linear
from flythinker.generation.cpu.layers import LeanBackbone, MakeLinear, can_be_lean
from flythinker.generation.cpu.packed import PackedLinear, can_be_packed, pack
from flythinker.generation.parallel import Mode, Parallel
from flythinker.model import FlyThinkerForCausalLM
from flythinker.model.fusion import shift

Part = Literal["generator", "reasoner"]


@dataclass
class Place:
    """Where a text stands: tokens read so far by each part, and where its prompt ends.

    `weight` is its λ, `mean_thought` [d_R] that of the prompt that the Reasoner has read, `apart`
    whether that was another prompt than the Generator's, `owner` whose it is.
    """

    weight: float
    prompt_length: int
    apart: bool
    mean_thought: Tensor
    owner: str = ""
    generator: int = 0
    reasoner: int = 0


class Engine:
    """A FlyThinker model and the caches of the texts it is writing.

    The model is taken over: its layers become lean (see `LeanBackbone`) where its family is known,
    and packed ones with `grouped_attention` elsewhere, which compute the same faster. It no longer
    works by itself, and says so.

    Attributes:
        model: with or without a Reasoner (λ = 0).
        places: of the texts in slots 0 to n - 1; there are no gaps.
        parallel: how the two passes of a step are run.
        prefixes: prompts read before, `prefix_bytes` of them at most.
    """

    def __init__(
        self,
        model: FlyThinkerForCausalLM,
        slots: int,
        prefix_bytes: int = 0,
        parallel: Mode = "auto",
        int8: Collection[Part] = (),
    ) -> None:
        """`int8` names the parts whose linear layers get 8-bit weights, see `Int8Linear`.

        Raises `FlyThinkerError` for a part that does not attend to all tokens before, and for int8
        elsewhere than on the CPU.
        """
        self.model = model
        self.thinks = model.config.fusion_weight != 0
        parts = {"generator": model.generator}
        if self.thinks:
            parts["reasoner"] = model.reasoner
        for part in parts.values():
            kinds = set(getattr(part.config, "layer_types", None) or ["full_attention"])
            if kinds != {"full_attention"} or getattr(part.config, "sliding_window", None):
                raise FlyThinkerError(
                    f"{type(part).__name__} has layers that do not attend to the whole text: "
                    "write with `model.generate`"
                )
            part.set_attn_implementation(ATTENTION)
        # of the head's rows, which nobody can read once they are packed
        self.head_norms = model.get_output_embeddings().weight.detach().norm(dim=-1).float()
        self.generator_cache = SlotCache(model.generator, slots)
        self.reasoner_cache = SlotCache(model.reasoner, slots) if self.thinks else None
        lean = {}
        for name, part in parts.items():
            linear = Int8Linear if name in int8 else PackedLinear
            lean[name] = _lean(part, linear)
            pack(part, linear)
        self.lean_generator, self.lean_reasoner = lean["generator"], lean.get("reasoner")
        pack(model)  # the projection
        for name in ("forward", "generate", "save_pretrained"):
            setattr(model, name, _taken_over)
        self.fusion = model.fusion
        width = model.config.thought_size if self.thinks else 0
        self.last_thoughts = torch.zeros(slots, width, dtype=model.dtype, device=model.device)
        self.read_tokens, self.read_thoughts = 0, self.last_thoughts[:, None]  # by the last `read`
        self.ahead = self.last_thoughts[:, None][:, :0]  # of the last `draft`, [n, tokens, d_R]
        self.added: tuple[int, Tensor, Tensor] | None = None  # see `entered`
        self.prefixes = PrefixCache(prefix_bytes)
        layers = getattr(self.lean_generator or model.generator.base_model, "layers", ())
        self.parallel = Parallel(parallel if self.thinks else "off", layers)
        self.places: list[Place] = []

    @torch.inference_mode()
    def join(
        self,
        prompt_ids: list[int],
        reasoner_ids: list[int] | None = None,
        weight: float | None = None,
        owner: str = "",
    ) -> Tensor:
        """Read the prompt of a new text in the next slot; returns logits [vocab] of what follows.

        `reasoner_ids` is the Reasoner's own prompt, where it has one, and `weight` the λ of this
        text, where it is not the model's. What was read before for another `owner` is not used:
        how fast a prompt is read would tell what others have asked.
        """
        if reasoner_ids is not None and self.thinks and not self.fusion.enters_response:
            raise FlyThinkerError(
                'a Reasoner with a prompt of its own needs injection "output" or "global"'
            )
        slot = len(self.places)
        place = Place(
            self.model.config.fusion_weight if weight is None else weight,
            len(prompt_ids),
            reasoner_ids is not None,
            self.last_thoughts[slot],
            owner,
        )
        self.places.append(place)
        thought_of = reasoner_ids or prompt_ids
        thoughts = self._recall(slot, place, prompt_ids, thought_of)
        shifted = None
        if self.thinks:
            new = self._think(slot, self._ids(thought_of[place.reasoner :]))[0]
            thoughts = torch.cat([thoughts, new])
            self.last_thoughts[slot] = thoughts[-1]
            place.mean_thought = thoughts.mean(0)
            if not place.apart:
                shifted = shift(thoughts[None], None)[:, place.generator :]
        unread = self._ids(prompt_ids[place.generator :])
        logits = self._write(slot, unread, shifted, logits_to_keep=1)
        place.generator = len(prompt_ids)
        self._remember(slot, place, prompt_ids, thought_of, thoughts)
        return logits[0, -1]

    @torch.inference_mode()
    def read(self, ids: Tensor, first: int = 0, logits_to_keep: int = 0) -> Tensor:
        """Read new tokens [n, T] of the texts in slots `first` to `first` + n - 1.

        Returns logits [n, T or the last `logits_to_keep`, vocab]. The thought of a token's
        predecessor is all it needs, so the two parts do not wait for each other within a step.
        All of them count as read until `keep` says otherwise.
        """
        rows = slice(first, first + len(ids))
        if not self.thinks:
            logits = self._write(first, ids, None, logits_to_keep)
        else:
            before = self.last_thoughts[rows, None]
            ahead, self.ahead = self.ahead, self.last_thoughts[:, None][:, :0]
            known = ahead.shape[1]
            if ids.shape[1] == known + 1:  # all that is added is there already
                shifted = torch.cat([before, ahead[: len(ids)]], dim=1)
                new, logits = self.parallel(
                    lambda: self._think(first, ids[:, known:]),
                    lambda: self._write(first, ids, shifted, logits_to_keep),
                    ids.numel(),
                )
                thoughts = torch.cat([shifted[:, 1:], new], dim=1)
            else:
                thoughts = self._think(first, ids)
                logits = self._write(first, ids, shift(thoughts, before), logits_to_keep)
            self.last_thoughts[rows] = thoughts[:, -1]
            self.read_thoughts = thoughts
        self.read_tokens = ids.shape[1]
        for place in self.places[rows]:
            place.generator += ids.shape[1]
        return logits

    @torch.inference_mode()
    def entered(self, slot: int) -> Tensor:
        """What the last pass added to each token of a text, by direction: [T, d_G].

        Thoughts have much in common, so it is told of each how it differs from those of the
        prompt. Zeros where no thought entered.
        """
        table = self.model.get_input_embeddings().weight
        if self.added is None:
            return torch.zeros_like(table[:1])
        first, shifted, gate = self.added
        thoughts = shifted[slot - first] - self.places[slot].mean_thought
        nothing = torch.zeros_like(table[: len(thoughts)])
        return self.fusion.add(nothing, thoughts, gate[slot - first], 1.0)

    @torch.inference_mode()
    def draft(self, ids: Tensor, count: int) -> Tensor:
        """What the Reasoner itself would write after the next tokens [n, 1] of all n texts.

        Returns int64 [n, `count`], greedily by `draft_logits`. The Reasoner has then read `ids` and
        all drafted tokens but the last: the next `read` is to be of `ids` and all of the draft.
        """
        thoughts, drafted = [], []
        for _ in range(count):
            hidden = self._reason(0, ids)
            thoughts.append(self.fusion.normalize(hidden.to(self.model.device)))
            ids = self._draft_head(hidden).argmax(dim=-1)
            drafted.append(ids)
        self.ahead = torch.cat(thoughts, dim=1)
        return torch.cat(drafted, dim=1)

    @torch.inference_mode()
    def keep(self, counts: list[int]) -> None:
        """Of the tokens [n, T] just read from slot 0 on, keep the first `counts[i]` of text i.

        The others are as if never read: what they left in the caches is overwritten.
        """
        unread = [self.read_tokens - count for count in counts]
        for slot, (place, count, back) in enumerate(zip(self.places, counts, unread, strict=True)):
            if back:
                place.generator -= back
                place.reasoner -= back
                if self.thinks:
                    self.last_thoughts[slot] = self.read_thoughts[slot, count - 1]

    @torch.inference_mode()
    def leave(self, slot: int) -> None:
        """Free a slot; the text in the last slot moves into it."""
        last = len(self.places) - 1
        if slot < last:
            place = self.places[last]
            self.generator_cache.move(last, slot, place.generator)
            if self.reasoner_cache is not None:
                self.reasoner_cache.move(last, slot, place.reasoner)
            self.last_thoughts[slot] = self.last_thoughts[last]
            self.places[slot] = place
        self.places.pop()

    def clear(self) -> None:
        """Free all slots, also after a pass that failed."""
        self.places.clear()
        self.ahead = self.last_thoughts[:, None][:, :0]

    def _recall(
        self, slot: int, place: Place, prompt_ids: list[int], thought_of: list[int]
    ) -> Tensor:
        """Begin a slot with what a prompt before has in common; returns its thoughts [n, d_R]."""
        thoughts = self.last_thoughts[:0]
        place.generator, prefix = self.prefixes.find(self._kind(place), prompt_ids)
        if prefix is not None:
            self.generator_cache.copy_in(slot, prefix.keys, prefix.values, place.generator)
        if self.reasoner_cache is not None:
            place.reasoner, prefix = self.prefixes.find(f"{place.owner}: reasoner", thought_of)
            if prefix is not None and prefix.thoughts is not None:
                self.reasoner_cache.copy_in(slot, prefix.keys, prefix.values, place.reasoner)
                thoughts = prefix.thoughts[: place.reasoner]
        return thoughts

    def _remember(
        self,
        slot: int,
        place: Place,
        prompt_ids: list[int],
        thought_of: list[int],
        thoughts: Tensor,
    ) -> None:
        """Keep a prompt just read for the next one that begins as it does."""
        if self.prefixes.max_bytes == 0:
            return
        kept = self.generator_cache.copy_out(slot, len(prompt_ids))
        self.prefixes.put(self._kind(place), prompt_ids, Prefix(*kept))
        if self.reasoner_cache is not None:
            kept = self.reasoner_cache.copy_out(slot, len(thought_of))
            self.prefixes.put(f"{place.owner}: reasoner", thought_of, Prefix(*kept, thoughts))

    def _kind(self, place: Place) -> str:
        """What a prompt read by the Generator depends on beside its tokens."""
        if place.weight == 0 or not self.fusion.enters_prompt(place.apart):
            return f"{place.owner}: generator without thoughts"
        return f"{place.owner}: generator, λ = {place.weight}"

    def _ids(self, ids: list[int]) -> Tensor:
        return torch.tensor([ids], device=self.model.device)

    def _think(self, first: int, ids: Tensor) -> Tensor:
        """Thoughts of new tokens, [n, T, d_R], which then count as read by the Reasoner."""
        return self.fusion.normalize(self._reason(first, ids).to(self.model.device))

    def _reason(self, first: int, ids: Tensor) -> Tensor:
        """The Reasoner's last hidden states at new tokens, [n, T, d_R], on its own device."""
        places = self.places[first : first + len(ids)]
        starts = [place.reasoner for place in places]
        assert self.model.reasoner is not None
        assert self.reasoner_cache is not None
        ids = ids.to(self._thinks_on)
        columns, mask = _place(self.reasoner_cache, first, starts, ids)
        if self.lean_reasoner is not None:
            embeds = self.model.reasoner.get_input_embeddings()(ids)
            hidden = self.lean_reasoner(embeds, columns, mask, self.reasoner_cache)
        else:
            hidden = self.model.reasoner(
                input_ids=ids,
                attention_mask=mask,
                position_ids=columns,
                past_key_values=self.reasoner_cache,
                use_cache=True,
            ).last_hidden_state
        for place in places:
            place.reasoner += ids.shape[1]
        return hidden

    @property
    def _thinks_on(self) -> torch.device:
        """The Reasoner's device: the Generator's, or a second one."""
        assert self.model.reasoner is not None
        return self.model.reasoner.get_input_embeddings().weight.device

    @cached_property
    def _draft_head(self) -> nn.Module:
        """`draft_logits` of the model; packed, where that is faster, at its first use."""
        assert self.model.reasoner is not None
        weight = self.model.reasoner.get_input_embeddings().weight
        head = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        head.weight = weight
        return PackedLinear(head) if can_be_packed(head) else head

    def _write(
        self, first: int, ids: Tensor, shifted: Tensor | None, logits_to_keep: int
    ) -> Tensor:
        """Logits after new tokens, with `shifted` thoughts [n, T, d_R] added."""
        places = self.places[first : first + len(ids)]
        starts = [place.generator for place in places]
        columns, mask = _place(self.generator_cache, first, starts, ids)
        embeds = self.model.get_input_embeddings()(ids)
        self.added = None
        if shifted is not None:
            ends = torch.tensor([place.prompt_length for place in places], device=ids.device)
            apart = torch.tensor([place.apart for place in places], device=ids.device)
            gate = self.fusion.gate(columns, None, ends, apart)
            weights = torch.tensor([[[place.weight]] for place in places], device=ids.device)
            embeds = self.fusion.add(embeds, shifted, gate, weights)
            self.added = first, shifted, gate
        if self.lean_generator is not None:
            hidden = self.lean_generator(embeds, columns, mask, self.generator_cache)
            return self.model.get_output_embeddings()(hidden[:, -logits_to_keep:])
        return self.model.generator(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=columns,
            past_key_values=self.generator_cache,
            use_cache=True,
            logits_to_keep=logits_to_keep,
        ).logits


def _lean(part: PreTrainedModel, linear: MakeLinear) -> LeanBackbone | None:
    """The part's layers in few operations, where that is known; they leave the model."""
    if not can_be_lean(part):
        return None
    lean = LeanBackbone(part.base_model, linear)
    part.base_model.layers = nn.ModuleList()
    return lean


def _taken_over(*args: Any, **kwargs: Any) -> Any:
    raise FlyThinkerError("an Engine or Writer has taken this model over: load it once more")


def _place(cache: SlotCache, first: int, starts: list[int], ids: Tensor) -> tuple[Tensor, Tensor]:
    """Columns [n, T] of new tokens, and the mask [n, 1, T, L] of what each may see."""
    tokens = ids.shape[1]
    steps = torch.arange(tokens, device=ids.device)
    columns = torch.tensor(starts, device=ids.device)[:, None] + steps
    end = max(starts) + tokens
    cache.place(first, columns, end)
    seen = torch.arange(end, device=ids.device)
    return columns, seen <= columns[:, None, :, None]
