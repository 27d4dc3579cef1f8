"""FlyThinker on vLLM: its own classes of both parts, joined by a paged cache of thoughts."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig
from vllm.compilation.backends import set_model_tag
from vllm.config import VllmConfig
from vllm.config.utils import replace
from vllm.lora.model_manager import LoRAModelManager
from vllm.model_executor.layers.linear import ReplicatedLinear
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.model_executor.models.interfaces import SupportsLoRA
from vllm.model_executor.models.utils import AutoWeightsLoader

from flythinker import model as on_transformers
from flythinker.model import FlyThinkerConfig
from flythinker.model.fusion import Fusion
from flythinker.vllm_plugin.adapters import AdapterNames, make_room_for_nobody, restrict
from flythinker.vllm_plugin.thoughts import ThoughtCache

_ROWS = 4096
"""Of the embedding table that are measured at a time."""


class FlyThinkerForCausalLM(nn.Module, SupportsLoRA):
    """The model of `flythinker.model`, with vLLM's attention, batching and tensor parallelism.

    At λ = 0 only the Generator is made and loaded.

    Attributes:
        generator: vLLM's causal LM of its family.
        reasoner: vLLM's causal LM of its family, without its head; `None` at λ = 0.
        projection: the d_R → d_G map, the same on every rank; `None` with `projection="pad"`.
        thoughts: those of all tokens in the cache.
        hf_to_vllm_mapper: whose adapters it takes; `None` without `--enable-lora`.
    """

    generator: Any  # vLLM's classes are unknown to mypy
    reasoner: Any
    projection: Any
    hf_to_vllm_mapper: AdapterNames | None
    norm: Tensor  # of the Generator's embeddings, on average; float32
    inputs: Tensor  # of the Generator, [most tokens of a step, d_G]

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config: FlyThinkerConfig = vllm_config.model_config.hf_config
        self.config = config
        self.generator = _build(vllm_config, "generator", config.generator_config)
        self.reasoner = self.projection = self.hf_to_vllm_mapper = None
        if config.fusion_weight:
            self._build_reasoner(vllm_config)
        if (lora := vllm_config.lora_config) is not None:
            self.hf_to_vllm_mapper = AdapterNames(config, self._here)
            self.packed_modules_mapping = restrict(lora, self, self.hf_to_vllm_mapper.layers)

    def _build_reasoner(self, vllm_config: VllmConfig) -> None:
        """Make the Reasoner and what brings its thoughts to the Generator."""
        config = self.config
        with set_model_tag("reasoner"):
            self.reasoner = _build(vllm_config, "reasoner", config.reasoner_config)
        _drop_head(self.reasoner)
        if config.projection == "linear":  # a layer of vLLM's, which adapters can change
            sizes = config.thought_size, config.hidden_size
            self.projection = ReplicatedLinear(
                *sizes, bias=False, return_bias=False, prefix="projection"
            )
        self.thoughts = ThoughtCache(vllm_config, config.thought_size, "thoughts.0")
        self.register_buffer("norm", torch.ones((), dtype=torch.float32), persistent=False)
        # CUDA graphs of the Generator read their input where it was when they were captured
        most = vllm_config.scheduler_config.max_num_batched_tokens
        self.register_buffer("inputs", torch.empty(most, config.hidden_size), persistent=False)

    @property
    def lora_manager(self) -> LoRAModelManager:
        """What vLLM sets once it has wrapped the layers that adapters change."""
        return self._lora_manager

    @lora_manager.setter
    def lora_manager(self, manager: LoRAModelManager) -> None:
        make_room_for_nobody(manager)
        self._lora_manager = manager

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """The Generator's embeddings [tokens, d_G], without thoughts."""
        return self.generator.embed_input_ids(input_ids)

    def forward(
        self,
        input_ids: Tensor,
        positions: Tensor,
        intermediate_tensors: None = None,
        inputs_embeds: None = None,
    ) -> Tensor:
        """The Generator's last hidden states [tokens, d_G] of this step's tokens.

        Args:
            input_ids, positions: [tokens], of all requests, one after the other.
            intermediate_tensors, inputs_embeds: of what this model does not offer, see `settings`.
        """
        if self.reasoner is None:
            return self.generator(input_ids, positions)
        fusion = self._fusion()
        thoughts = fusion.normalize(self.reasoner(input_ids, positions))
        inputs = self.inputs[: len(input_ids)]
        inputs.copy_(self.embed_input_ids(input_ids))
        metadata = self.thoughts.metadata()
        if metadata is not None:
            entering = self.thoughts(thoughts, metadata)  # those about the tokens before
            tokens = len(entering)  # CUDA graphs may pad the others
            ends = metadata.prompt_length
            gate = fusion.gate(positions[None, :tokens], None, None if ends is None else ends[None])
            inputs[:tokens].copy_(fusion.add(inputs[:tokens], entering, gate[0]))
        return self.generator(None, positions, inputs_embeds=inputs)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Logits [tokens, vocab]; `None` on the ranks that do not sample."""
        return self.generator.compute_logits(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Load a saved folder's tensors.

        Returns: the names of the parameters that were loaded.
        """
        if self.hf_to_vllm_mapper is not None:
            weights = self.hf_to_vllm_mapper.read(weights)
        if self.reasoner is None:
            unused = ["reasoner.", "projection."]
            return AutoWeightsLoader(self, ignore_unexpected_prefixes=unused).load_weights(weights)
        loaded = AutoWeightsLoader(self).load_weights(self._renamed(weights))
        self.norm.copy_(self._mean_embedding_norm())
        return loaded

    def _renamed(self, weights: Iterable[tuple[str, Tensor]]) -> Iterable[tuple[str, Tensor]]:
        """The tensors of a saved folder by their names here.

        A table that both parts share is saved once and loaded for each.
        """
        shared = {}
        if self.config.share_embeddings:
            with torch.device("meta"):
                tied = on_transformers.FlyThinkerForCausalLM(self.config)._tied_weights_keys
            shared = {saved: read for read, saved in tied.items()}
        for name, weight in weights:
            yield self._here(name), weight
            if name in shared:
                yield self._here(shared[name]), weight

    def _here(self, name: str) -> str:
        """The Reasoner is saved as a backbone, and is a causal LM here."""
        if not name.startswith("reasoner."):
            return name
        whole = MODEL_FOR_CAUSAL_LM_MAPPING[type(self.config.reasoner_config)]
        return name.replace("reasoner.", f"reasoner.{whole.base_model_prefix}.", 1)

    def _mean_embedding_norm(self) -> Tensor:
        """As `mean_embedding_norm`, of a table that may be in shards; a float32 scalar."""
        ids = torch.arange(self.config.vocab_size, device=self.inputs.device)
        rows = [
            self.embed_input_ids(some).norm(dim=-1, dtype=torch.float32)
            for some in ids.split(_ROWS)
        ]
        return torch.cat(rows).mean()

    def _fusion(self) -> Fusion:
        """How thoughts enter, with the norm of the whole table."""
        fusion = Fusion(self.config, self.projection, None)
        fusion.norm = self.norm
        return fusion


def _drop_head(part: nn.Module) -> None:
    """Let go of what only a Generator needs; a table that is the head too stays."""
    for name, module in list(part.named_children()):
        if isinstance(module, ParallelLMHead):
            delattr(part, name)


def _build(vllm_config: VllmConfig, part: str, config: PreTrainedConfig) -> nn.Module:
    """A part, by vLLM's class of its family."""
    own = vllm_config.with_hf_config(config)
    own.model_config.hf_text_config = config.get_text_config()  # which some classes read instead
    # vLLM keeps compiled graphs on disk by config: two parts of one size must not share theirs
    own = replace(own, additional_config={**own.additional_config, "flythinker": part})
    return initialize_model(own, prefix=part)
