"""Loss and gradients: invariant 8, and what training loops ask of a model."""

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Gemma3TextConfig

from flythinker import FlyThinkerForCausalLM
from flythinker.model import loss
from tiny import TOLERANCE, VOCAB, Variant, padded, random_ids, tiny_flythinker

PROMPT = 4
IGNORED = -100


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    """Two rows, right-padded; labels on the response only."""
    batch = padded([random_ids(12), random_ids(9, seed=1)], "right")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
    labels[:, :PROMPT] = IGNORED
    return {**batch, "labels": labels, "prompt_length": torch.tensor([PROMPT, PROMPT])}


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of each weight that gets one."""
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_gradients_reach_every_weight_of_both_parts(model, inputs):
    reached = gradients(model, model(**inputs).loss)
    assert reached.keys() == dict(model.named_parameters()).keys()
    assert [name for name, gradient in reached.items() if not gradient.any()] == []


@pytest.mark.parametrize("frozen", ["generator", "reasoner"])
def test_a_frozen_part_gets_no_gradient(model, inputs, frozen):
    getattr(model, frozen).requires_grad_(False)
    reached = gradients(model, model(**inputs).loss)
    trained = "reasoner" if frozen == "generator" else "generator"
    assert {name.split(".")[0] for name in reached} - {"projection"} == {trained}


def test_without_thoughts_the_reasoner_is_not_run(model, inputs):
    reached = gradients(model, model(**inputs, fusion_weight=0).loss)
    assert {name.split(".")[0] for name in reached} == {"generator"}


def test_a_fresh_linear_projection_can_leave_zero(inputs):
    model = tiny_flythinker(Variant(projection="linear"))
    nn.init.zeros_(model.projection.weight)
    reached = gradients(model, model(**inputs).loss)
    assert reached["projection.weight"].any()


def test_the_norms_are_constants_to_the_gradient(inputs):
    """As released: the gradients of the formula whose two norms are plain numbers."""
    model, ids = tiny_flythinker(), inputs["input_ids"]
    embedding = model.get_input_embeddings()
    thoughts = model.reasoner(ids).last_hidden_state
    with torch.no_grad():
        factor = embedding.weight.norm(dim=-1).mean() / thoughts.norm(dim=-1, keepdim=True)
    moved = nn.functional.pad((thoughts * factor)[:, :-1], (0, 0, 1, 0))
    reference = model.generator(
        inputs_embeds=embedding(ids) + 0.5 * moved, labels=inputs["labels"]
    ).loss
    expected = gradients(model, reference)
    torch.testing.assert_close(gradients(model, model(**inputs).loss), expected, **TOLERANCE)


def test_the_loss_is_the_mean_over_the_labelled_next_tokens(model, inputs):
    output = model(**inputs)
    chances = output.logits.log_softmax(-1)
    losses = [
        -chances[row, column - 1, label]
        for row, labels in enumerate(inputs["labels"])
        for column, label in enumerate(labels)
        if label != IGNORED
    ]
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())


def test_the_loss_of_a_step_is_divided_by_the_labels_of_all_its_batches(inputs):
    model = tiny_flythinker()
    labelled = (inputs["labels"] != IGNORED).sum()
    whole = model(**inputs).loss
    step = model(**inputs, num_items_in_batch=4 * labelled).loss
    torch.testing.assert_close(step, whole / 4)


@pytest.mark.parametrize(
    "columns", [6, torch.arange(3, 12), torch.tensor([3, 7, 8])], ids=["last", "range", "some"]
)
def test_logits_only_where_they_are_wanted(inputs, columns):
    model = tiny_flythinker()
    kept = slice(-columns, None) if isinstance(columns, int) else columns
    full = model(**inputs)
    part = model(**inputs, logits_to_keep=columns)

    torch.testing.assert_close(part.logits, full.logits[:, kept], **TOLERANCE)
    next_labels = nn.functional.pad(inputs["labels"][:, 1:], (0, 1), value=IGNORED)
    expected = nn.functional.cross_entropy(
        full.logits[:, kept].flatten(0, 1), next_labels[:, kept].flatten()
    )
    torch.testing.assert_close(part.loss, expected)


def test_logits_on_all_labelled_columns_give_the_whole_loss(model, inputs):
    columns = torch.arange(PROMPT - 1, inputs["input_ids"].shape[1])
    whole, part = model(**inputs), model(**inputs, logits_to_keep=columns)
    torch.testing.assert_close(part.loss, whole.loss)
    torch.testing.assert_close(gradients(model, part.loss), gradients(model, whole.loss))


def test_the_backbone_is_all_but_the_head(model, inputs):
    hidden = model.base_model(
        inputs["input_ids"], inputs["attention_mask"], prompt_length=inputs["prompt_length"]
    ).last_hidden_state
    torch.testing.assert_close(model.get_output_embeddings()(hidden), model(**inputs).logits)


def test_gradient_checkpointing_gives_the_same_gradients(model, inputs):
    model.train()
    plain = gradients(model, model(**inputs).loss)
    forwards = []
    # "gradient" became "activation" in transformers 5.24
    kind = "activation" if hasattr(model, "is_activation_checkpointing") else "gradient"
    getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    for part in (model.generator, model.reasoner):
        layer = next(m for m in part.modules() if isinstance(m, nn.ModuleList))[0]
        # a module inside of it: hooks of the layer itself do not run again since 5.24
        next(layer.children()).register_forward_pre_hook(lambda *_: forwards.append(1))
    checkpointed = gradients(model, model(**inputs).loss)

    torch.testing.assert_close(checkpointed, plain)
    assert len(forwards) == 4  # both layers ran again in the backward pass
    assert getattr(model, f"is_{kind}_checkpointing")
    getattr(model, f"{kind}_checkpointing_disable")()
    assert not getattr(model, f"is_{kind}_checkpointing")


def test_both_parts_learn(inputs):
    model = tiny_flythinker(Variant(projection="linear", reasoner_width=16)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = []
    for _ in range(20):
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_the_draft_loss_is_that_of_the_reasoners_own_guesses(model, inputs):
    plain = model(**inputs)
    drafting = model(**inputs, draft_loss_weight=0.3)
    guesses = model.draft_logits(plain.reasoner_hidden_state)[:, :-1].flatten(0, 1)
    own = nn.functional.cross_entropy(guesses, inputs["labels"][:, 1:].flatten())
    torch.testing.assert_close(drafting.loss, plain.loss + 0.3 * own)
    torch.testing.assert_close(drafting.logits, plain.logits)


def test_with_a_draft_loss_the_reasoner_learns_to_draft(model, inputs):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model(**inputs, draft_loss_weight=1).loss.backward()
        optimizer.step()
    expected = inputs["labels"][:, 1:]
    drafted = model.draft_logits(model(**inputs).reasoner_hidden_state).argmax(-1)[:, :-1]
    labelled = expected != IGNORED
    assert torch.equal(drafted[labelled], expected[labelled])


@pytest.mark.parametrize("columns", [0, torch.tensor([3, 4, 5, 7])], ids=["all", "some"])
@pytest.mark.parametrize("items", [None, 5])
def test_the_loss_without_logits_is_the_same_and_so_are_its_gradients(
    model, inputs, columns, items, monkeypatch
):
    monkeypatch.setattr(loss, "_CHUNK_LOGITS", 3 * model.config.vocab_size)  # 3 rows at a time
    inputs |= {"logits_to_keep": columns, "num_items_in_batch": items, "draft_loss_weight": 0.5}
    whole = model(**inputs)
    expected = gradients(model, whole.loss)
    chunked = model(**inputs, loss_only=True)
    assert (chunked.logits is None) == loss.can_be_chunked(model.generator)
    torch.testing.assert_close(chunked.loss, whole.loss)
    torch.testing.assert_close(gradients(model, chunked.loss), expected, **TOLERANCE)


def test_a_frozen_head_gets_no_gradient_without_logits(model, inputs):
    model.generator.requires_grad_(False)
    reached = gradients(model, model(**inputs, loss_only=True).loss)
    assert {name.split(".")[0] for name in reached} - {"projection"} == {"reasoner"}


def test_in_autocast_the_loss_without_logits_is_as_near(model, inputs):
    with torch.autocast("cpu", torch.bfloat16):
        whole, chunked = model(**inputs), model(**inputs, loss_only=True)
    torch.testing.assert_close(chunked.loss, whole.loss, atol=1e-3, rtol=1e-3)
    expected = gradients(model, whole.loss)
    for name, gradient in gradients(model, chunked.loss).items():
        assert (
            nn.functional.cosine_similarity(gradient.flatten(), expected[name].flatten(), 0) > 0.99
        )


def test_capped_logits_are_not_left_out(model, inputs):
    model.generator.config.model_type = "gemma2"
    assert model(**inputs, loss_only=True).logits is not None


@pytest.mark.parametrize("cap", [None, 5.0])
def test_gemma_3_is_without_logits_as_long_as_they_are_not_capped(cap, inputs):
    config = Gemma3TextConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=4,
        final_logit_softcapping=cap,
    )
    part = AutoModelForCausalLM.from_config(config).eval()
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(part, part.model)
    without, whole = model(**inputs, loss_only=True), model(**inputs)
    assert (without.logits is None) == (cap is None)
    torch.testing.assert_close(without.loss, whole.loss)


def test_a_frozen_reasoner_has_no_backward(model, inputs):
    model.reasoner.requires_grad_(False)
    assert not model(**inputs).thoughts.requires_grad
