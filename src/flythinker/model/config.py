"""The configuration of a FlyThinker model: two nested configs and how thoughts are fused."""

from pathlib import Path
from typing import Any, Literal, get_args

from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import CONFIG_NAME

from flythinker.model.remote_code import AUTO_MAP, write_remote_code

Injection = Literal["global", "input", "output"]
Projection = Literal["pad", "linear"]

UNBOUNDED = 2**17
"""Tokens that a model is taken to read which says nothing about it."""


class FlyThinkerConfig(PreTrainedConfig):
    """Configuration of `FlyThinkerForCausalLM`.

    Attributes:
        generator_config: config (or its dict) of the Generator, any decoder-only causal LM.
        reasoner_config: config (or its dict) of the Reasoner. `None` means that there is no
            Reasoner: the model is its Generator alone, which is how the SFT baseline is made;
            `fusion_weight` must then be 0.
        fusion_weight: λ, the weight of a thought in the Generator's input (paper, eq. of fusion;
            0.5 in the paper). 0 means that the Reasoner is not run at all.
        injection: where thoughts enter: on `"global"` = all positions, `"input"` = the prompt
            only, `"output"` = the response only. The last two need `prompt_length` in `forward`.
        projection: how a thought of width d_R meets an embedding of width d_G. `"pad"` adds it to
            the first d_R coordinates (as released; needs d_R ≤ d_G); `"linear"` is a learned
            d_R → d_G map that starts at zero, so that training starts exactly at the Generator.
        share_embeddings: both parts have one embedding table, the Generator's, in memory and on
            disk, and learn it together. For parts that start with the same table, such as a
            Reasoner of the Generator's first layers.

    Raises:
        ValueError: an unknown `injection` or `projection`, a negative `fusion_weight`, a Reasoner
            wider than the Generator with `"pad"`, a non-zero `fusion_weight` without a Reasoner,
            `share_embeddings` of tables that differ in size.

    >>> from transformers import AutoModelForCausalLM, LlamaConfig
    >>> from flythinker import FlyThinkerConfig
    >>> size = {"hidden_size": 32, "num_attention_heads": 2, "vocab_size": 100}
    >>> config = FlyThinkerConfig(
    ...     generator_config=LlamaConfig(num_hidden_layers=2, **size),
    ...     reasoner_config=LlamaConfig(num_hidden_layers=1, **size),
    ... )
    >>> type(AutoModelForCausalLM.from_config(config)).__name__  # random weights
    'FlyThinkerForCausalLM'
    """

    model_type = "flythinker"
    sub_configs = {"generator_config": AutoConfig, "reasoner_config": AutoConfig}  # noqa: RUF012

    generator_config: Any = None  # a config or its dict; a config after __post_init__
    reasoner_config: Any = None
    fusion_weight: float = 0.5
    injection: str = "global"
    projection: str = "pad"
    share_embeddings: bool = False

    def __post_init__(self, **kwargs) -> None:  # type: ignore[no-untyped-def]
        # transformers makes a config without arguments to know the defaults when it saves one
        if self.generator_config is None:
            self.generator_config = AutoConfig.for_model("llama")
            self.reasoner_config = self.reasoner_config or AutoConfig.for_model("llama")
        self.generator_config = _as_config(self.generator_config)
        self.reasoner_config = self.reasoner_config and _as_config(self.reasoner_config)
        for token in ("bos_token_id", "eos_token_id", "pad_token_id"):
            kwargs.setdefault(token, getattr(self.generator_config, token, None))
        kwargs["auto_map"] = dict(AUTO_MAP)  # ours, whatever the loaded one said
        # each part ties its own table and head; transformers asks this before it ties across them
        kwargs["tie_word_embeddings"] = self.share_embeddings
        # the base class would reset what loaded parts use
        kwargs.setdefault("attn_implementation", self.generator_config._attn_implementation)
        super().__post_init__(**kwargs)
        self._check()

    def _check(self) -> None:
        if self.injection not in get_args(Injection):
            known = ", ".join(get_args(Injection))
            raise ValueError(f"injection is {self.injection!r}; it must be one of {known}")
        if self.projection not in get_args(Projection):
            known = ", ".join(get_args(Projection))
            raise ValueError(f"projection is {self.projection!r}; it must be one of {known}")
        if self.fusion_weight < 0:
            raise ValueError(f"fusion_weight is {self.fusion_weight}; it must be 0 or more")
        if self.share_embeddings:
            self._check_tables()
        if self.reasoner_config is None:
            if self.fusion_weight != 0:
                raise ValueError(
                    f"fusion_weight is {self.fusion_weight} but there is no Reasoner: "
                    "give a reasoner, or set fusion_weight to 0"
                )
        elif self.projection == "pad" and self.thought_size > self.hidden_size:
            raise ValueError(
                f"a thought (width {self.thought_size}) does not fit into the Generator's "
                f'embedding (width {self.hidden_size}): use projection="linear" or a narrower '
                "Reasoner"
            )

    def _check_tables(self) -> None:
        if self.reasoner_config is None:
            raise ValueError("share_embeddings needs a Reasoner to share with")
        sizes = [
            (part.vocab_size, part.hidden_size)
            for part in (self.generator_config, self.reasoner_config)
        ]
        if sizes[0] != sizes[1]:
            raise ValueError(
                "share_embeddings needs two tables of one size; the Generator's is {} x {}, the "
                "Reasoner's {} x {}".format(*sizes[0], *sizes[1])
            )

    def to_json_file(self, json_file_path: Any, use_diff: bool = True) -> None:
        """As transformers'; beside a `config.json` it writes the code that others load it with.

        Every way of saving a model or its config comes through here.
        """
        super().to_json_file(json_file_path, use_diff)
        file = Path(json_file_path)
        if file.name == CONFIG_NAME:
            write_remote_code(file.parent)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoConfig") -> None:
        """Nothing: loaded as remote code, transformers would save a copy of this source file."""

    @property
    def hidden_size(self) -> int:
        """d_G, the width of the Generator's embeddings."""
        return self.generator_config.hidden_size

    @property
    def thought_size(self) -> int:
        """d_R, the width of a thought."""
        return self.reasoner_config.hidden_size

    @property
    def vocab_size(self) -> int:
        """The Generator's vocabulary size (rows of its embedding table)."""
        return self.generator_config.vocab_size

    def get_text_config(self, decoder=None, encoder=None) -> PreTrainedConfig:  # type: ignore[no-untyped-def]
        """The Generator's config: what generation asks for (vocabulary, layers) is its."""
        return self.generator_config


def context_length(config: PreTrainedConfig) -> int:
    """The most tokens that prompt and text may have together: each part must know their positions.

    Families without a limit of their own (states, ALiBi) count as `UNBOUNDED`.
    """
    parts = [config]
    if isinstance(config, FlyThinkerConfig):
        parts = [config.generator_config]
        if config.fusion_weight:
            parts.append(config.reasoner_config)
    limits = [
        getattr(part.get_text_config(), name, None) or UNBOUNDED
        for part in parts
        for name in ("max_position_embeddings", "max_seq_len")
    ]
    return min(limits)


def _as_config(config: dict | PreTrainedConfig) -> PreTrainedConfig:
    return AutoConfig.for_model(**config) if isinstance(config, dict) else config
