from flythinker.generation.drafts import PromptLookup


def test_it_drafts_what_followed_the_last_time():
    ids = [1, 2, 3, 4, 5, 1, 2]
    lookup = PromptLookup(ids)
    assert lookup.draft(3) == [3, 4, 5]
    assert lookup.draft(9) == [3, 4, 5, 1, 2]
    ids.append(9)
    assert lookup.draft(3) == []
    ids += [1, 2]
    assert lookup.draft(1) == [9]  # the last time, not the first


def test_nothing_is_drafted_of_a_text_that_never_repeats():
    assert PromptLookup([]).draft(4) == []
    assert PromptLookup([1]).draft(4) == []
    assert PromptLookup([1, 2, 3]).draft(4) == []
    assert PromptLookup([1, 2, 1, 2]).draft(0) == []
