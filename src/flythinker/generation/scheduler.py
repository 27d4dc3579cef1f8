"""`Scheduler`: which sequences are being written, and in which slots of the caches."""

from collections import deque
from collections.abc import Callable

from flythinker.generation.sequence import Sequence


class Scheduler:
    """Lets sequences in while there is room, first come first served; nobody else gives slots.

    Slots in use have no gaps, so that a pass reads one slice of the caches.

    Attributes:
        capacity: slots that there are.
        waiting: sequences that have none yet.
        slots: whose the slots in use are; with effects a sequence has two.
    """

    def __init__(self, capacity: int, move: Callable[[Sequence, int, int], None]) -> None:
        """`move(sequence, source, target)` moves what the caches hold of a sequence."""
        self.capacity = capacity
        self.waiting: deque[Sequence] = deque()
        self.slots: list[Sequence] = []
        self._move = move

    @property
    def running(self) -> list[Sequence]:
        """The sequences that are being written, in the order of their slots."""
        return [sequence for slot, sequence in enumerate(self.slots) if sequence.slot == slot]

    @property
    def idle(self) -> bool:
        """Whether there is nothing to write."""
        return not self.waiting and not self.slots

    def admit(self) -> Sequence | None:
        """Give slots to the sequence that has waited longest, once there is room for it."""
        while self.waiting and self.waiting[0].finish_reason is not None:
            self.waiting.popleft()
        if not self.waiting:
            return None
        begin, needed = len(self.slots), self.waiting[0].slots_needed
        if begin + needed > self.capacity:
            return None
        sequence = self.waiting.popleft()
        self.slots += [sequence] * needed
        sequence.slot = begin
        sequence.shadow_slot = begin + 1 if needed == 2 else None
        return sequence

    def free_finished(self) -> list[Sequence]:
        """Free the slots of sequences that are over, which are returned."""
        finished = [sequence for sequence in self.running if sequence.finish_reason is not None]
        for slot in reversed(range(len(self.slots))):
            if self.slots[slot].finish_reason is not None:
                self._free(slot)
        return finished

    def cancel_running(self) -> None:
        """Cancel all that have slots, whatever the caches hold; those that wait go on waiting."""
        for sequence in self.slots:
            sequence.cancel()
        self.slots.clear()

    def _free(self, slot: int) -> None:
        """Free a slot; what the last one holds moves there."""
        sequence, last = self.slots.pop(), len(self.slots)
        if slot == last:
            return
        self._move(sequence, last, slot)
        self.slots[slot] = sequence
        if sequence.slot == last:
            sequence.slot = slot
        else:
            sequence.shadow_slot = slot
