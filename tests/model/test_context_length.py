"""How many tokens a text may have."""

from transformers import LlamaConfig, MambaConfig, MptConfig

from flythinker import FlyThinkerConfig
from flythinker.model.config import UNBOUNDED, context_length


def test_a_text_is_as_long_as_both_parts_can_read():
    long, short = LlamaConfig(max_position_embeddings=512), LlamaConfig(max_position_embeddings=64)
    assert context_length(long) == 512
    joined = FlyThinkerConfig(generator_config=long, reasoner_config=short)
    assert context_length(joined) == 64
    joined.fusion_weight = 0.0  # the Reasoner does not read
    assert context_length(joined) == 512
    assert context_length(MptConfig(max_seq_len=256)) == 256
    assert context_length(MambaConfig()) == UNBOUNDED
