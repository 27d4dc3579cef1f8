"""Models from nothing: a part given by its sizes, and a tokenizer made of the training texts."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from filelock import FileLock
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from flythinker.data.example import data_hash, stream_examples
from flythinker.data.writings import Selection, Source
from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_folder, user_cache

PAD, EOS = "<pad>", "<eos>"
MIN_VOCABULARY = 256 + 2  # bytes, and the two above


@dataclass(frozen=True)
class Sizes:
    """A part that starts from random weights: the sizes of a Llama with one table for both ends.

    Attributes:
        layers: number of blocks. width: of hidden states. heads: of attention.
        kv_heads: heads of keys and values; default: `heads`.
        intermediate: width inside a block's MLP; default: 8/3 of `width`, a multiple of 8.
        positions: longest row.

    Raises:
        ValueError: sizes that do not go together.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int | None = None
    intermediate: int | None = None
    positions: int = 2048

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value < 1:
                raise ValueError(f"{field.name} is {value}; it must be 1 or more")
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is not an even multiple of {self.heads} heads")

    def config(
        self, tokenizer: PreTrainedTokenizerBase, attn_implementation: str | None = None
    ) -> LlamaConfig:
        """The transformers config of these sizes, for the tokens of `tokenizer`."""
        return LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.width,
            intermediate_size=self.intermediate or self.width * 8 // 3 // 8 * 8,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads or self.heads,
            max_position_embeddings=self.positions,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attn_implementation=attn_implementation,
        )

    def __str__(self) -> str:
        return f"a Llama of {self.layers} layers, {self.width} wide, from random weights"


def trained_tokenizer(texts: str | Path, vocabulary: int) -> Path:
    """The folder of a byte-level BPE tokenizer of all texts in an example file.

    Made once for a file's content and kept in the user's cache (see `resolve_backbone`); the same
    file gives the same tokenizer.

    Args:
        texts: example file; its targets, queries and histories are read.
        vocabulary: number of tokens, `<pad>` and `<eos>` and the 256 bytes included.

    Raises:
        FlyThinkerError: a vocabulary too small for all bytes, or bad data.
    """
    if vocabulary < MIN_VOCABULARY:
        raise FlyThinkerError(
            f"model.vocabulary is {vocabulary}; it must be {MIN_VOCABULARY} or more"
        )
    if not Path(texts).is_file():
        raise FlyThinkerError(f"{texts}: no such file")
    folder = user_cache() / "tokenizers" / f"bpe-{vocabulary}-{data_hash(texts)[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # runs side by side: one makes it
        if not folder.exists():
            with atomic_folder(folder) as partial:
                _train(texts, vocabulary).save_pretrained(partial)
    return folder


def _train(texts: str | Path, vocabulary: int) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_all_texts(texts), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=PAD, eos_token=EOS)


def _all_texts(path: str | Path) -> Iterator[str]:
    """Queries, targets and, each once, the documents of the histories."""
    seen: set[int] = set()  # by hash: the texts themselves need not be in memory
    read: dict[Source, int] = {}  # how many of a person's first texts were seen
    for example in stream_examples(path):
        yield example.query
        yield example.target
        history = example.history
        if isinstance(history, Selection) and isinstance(history.places, range):
            # a later example of a person mostly shows more of the same texts
            known = read.get(history.source, 0)
            if history.places.start == 0:
                read[history.source] = max(known, len(history))
            history = history[max(0, known - history.places.start) :]
        for document in history:
            if hash(document) not in seen:
                seen.add(hash(document))
                yield document.text
