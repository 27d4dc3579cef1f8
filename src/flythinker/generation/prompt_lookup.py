"""Drafts: tokens that may come next, to be read together and kept as far as they prove right.

A thought depends on tokens only, so one pass over drafted tokens gives the very thoughts and logits
that writing them one by one would. A token is then drawn from each position's logits in turn, as it
would be without drafts, and the draft is kept as long as the drawn tokens are the drafted ones: the
text is the same with drafts and without, greedy or sampled.
"""

NGRAM = 2


class PromptLookup:
    """Drafts what followed the last time the text's last tokens stood in prompt or text.

    Saxena (2023), "Prompt Lookup Decoding". People repeat themselves, and a personal prompt holds
    what they wrote before.
    """

    def __init__(self, ids: list[int]) -> None:
        self.ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for token in ids:
            self.add(token)

    def add(self, token: int) -> None:
        """The text goes on with `token`."""
        if len(self.ids) >= NGRAM:  # only now something follows what stood at the end
            self._after[tuple(self.ids[-NGRAM:])] = len(self.ids)
        self.ids.append(token)

    def draft(self, longest: int) -> list[int]:
        """Up to `longest` tokens that may come next; often none."""
        begin = self._after.get(tuple(self.ids[-NGRAM:]))
        return [] if begin is None else self.ids[begin : begin + longest]
