import torch

from flythinker.data.batch import IGNORED, Collator, encode
from flythinker.data.example import Document, Example
from flythinker.data.prompt import PromptConfig, build_prompt

EXAMPLES = [
    Example("ada", "Write about rain.", "It rained.", ()),
    Example("ada", "Write about the sun.", "It shone. It set.", (Document("Sun."),)),
]


def test_labels_cover_the_response_and_its_end_only(tokenizer):
    config = PromptConfig()

    for row, example in zip(encode(EXAMPLES, tokenizer, config), EXAMPLES, strict=True):
        prompt = build_prompt(example, tokenizer, config)
        n = row["prompt_length"]
        assert row["input_ids"] == prompt.prompt_ids + prompt.response_ids
        assert n == len(prompt.prompt_ids)
        assert row["labels"] == [IGNORED] * n + prompt.response_ids
        assert row["length"] == len(row["input_ids"])


def test_batches_are_padded_to_their_longest_row(tokenizer):
    rows = encode(EXAMPLES, tokenizer, PromptConfig())
    longest = max(row["length"] for row in rows)

    right = Collator(pad_token_id=99)(rows)
    left = Collator(pad_token_id=99, padding_side="left")(rows)

    for batch in (right, left):
        assert {name: tensor.dtype for name, tensor in batch.items()} == dict.fromkeys(
            ("input_ids", "attention_mask", "labels", "prompt_length"), torch.int64
        )
        assert batch["input_ids"].shape == (2, longest)
        assert batch["prompt_length"].tolist() == [row["prompt_length"] for row in rows]
        for index, row in enumerate(rows):
            real = batch["attention_mask"][index].bool()
            assert batch["input_ids"][index][real].tolist() == row["input_ids"]
            assert batch["labels"][index][real].tolist() == row["labels"]
            assert set(batch["input_ids"][index][~real].tolist()) <= {99}
            assert set(batch["labels"][index][~real].tolist()) <= {IGNORED}
    assert right["attention_mask"][:, 0].all()
    assert not right["attention_mask"][:, -1].all()
    assert left["attention_mask"][:, -1].all()
    assert not left["attention_mask"][:, 0].all()


def test_a_reasoners_own_prompt_is_padded_beside(tokenizer, examples):
    config = PromptConfig(k=1, profile_tokens=40, reasoner_k=2, reasoner_profile_tokens=80)
    rows = encode(examples[:3], tokenizer, config)
    for row, example in zip(rows, examples, strict=False):
        response = row["input_ids"][row["prompt_length"] :]
        assert row["reasoner_ids"][-len(response) :] == response
        own = tokenizer.decode(row["reasoner_ids"])
        assert all(document.text[:20] in own for document in example.history)
        assert example.history[0].text[:20] not in tokenizer.decode(row["input_ids"])
    batch = Collator(tokenizer.pad_token_id or 0)(rows)
    assert batch["reasoner_input_ids"].shape == batch["reasoner_attention_mask"].shape
    assert batch["reasoner_attention_mask"].sum(1).tolist() == [
        len(row["reasoner_ids"]) for row in rows
    ]
