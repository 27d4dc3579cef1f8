"""Both parts may have one embedding table: the same logits, one tensor in memory and on disk."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from flythinker import FlyThinkerForCausalLM
from flythinker.model.parts import load_reasoner
from tiny import FAMILIES, random_ids, tiny_generator, tiny_reasoner


def joined(family: str = "llama", shared: bool = True) -> FlyThinkerForCausalLM:
    generator = tiny_generator(family)
    reasoner = load_reasoner(tiny_generator(family), layers=1)
    join = FlyThinkerForCausalLM.from_generator_reasoner_pretrained
    return join(generator, reasoner, share_embeddings=shared)


def tables(model: FlyThinkerForCausalLM) -> list[torch.nn.Parameter]:
    return [part.get_input_embeddings().weight for part in (model.generator, model.reasoner)]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_table_gives_the_logits_of_two_and_stays_one_when_loaded(family, tmp_path):
    ids = random_ids(2, 7)
    shared, apart = joined(family), joined(family, shared=False)
    assert torch.equal(shared(ids).logits, apart(ids).logits)
    table = tables(apart)[1].numel()
    assert shared.num_parameters() == apart.num_parameters() - table

    shared.save_pretrained(tmp_path)
    loaded, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert tables(loaded)[0] is tables(loaded)[1]
    assert torch.equal(loaded(ids).logits, apart(ids).logits)


def test_both_parts_teach_the_one_table():
    ids = random_ids(2, 7)
    gradients = []
    for shared in (True, False):
        model = joined(shared=shared)
        model(ids, labels=ids, draft_loss_weight=0.5).loss.backward()
        gradients.append([table.grad for table in tables(model)])
    (one, same), (generator, reasoner) = gradients
    assert one is same
    torch.testing.assert_close(one, generator + reasoner)


def test_adapters_train_beside_one_table(tmp_path):
    model = get_peft_model(joined(), LoraConfig(target_modules="all-linear"))
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = random_ids(1, 5)
    torch.testing.assert_close(loaded(ids).logits, merged(ids).logits)


@pytest.mark.parametrize(
    ("reasoner", "message"),
    [
        (lambda: tiny_reasoner(width=16), "two tables of one size"),
        (lambda: tiny_reasoner(seed=7), "tables of Generator and Reasoner differ"),
        (lambda: None, "needs a Reasoner"),
    ],
)
def test_tables_that_differ_are_refused(reasoner, message):
    with pytest.raises(ValueError, match=message):
        FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
            tiny_generator(), reasoner(), fusion_weight=0, share_embeddings=True
        )
