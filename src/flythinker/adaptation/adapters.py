"""Adapters in memory: those of the persons who were served last."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

from flythinker.adapter import Adapter


class Adapters:
    """Least recently used adapters leave first, once all together hold more than `max_bytes`.

    It may be used from several threads.

    >>> from pathlib import Path
    >>> from flythinker.adapter import load_adapter
    >>> path, version = Path("me.adapter"), 3
    >>> adapters = Adapters(max_bytes=2**28)
    >>> mine = adapters.get(("me", version), lambda: load_adapter(path))  # doctest: +SKIP

    Attributes:
        n_bytes: of all that are held, see `Adapter.bytes`.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._held: OrderedDict[Hashable, Adapter] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable, load: Callable[[], Adapter]) -> Adapter:
        """The adapter of `key`, from memory or by `load`.

        The key says whose it is and which version of it; what `load` raises is passed on. One that
        is larger than the whole budget is loaded each time.
        """
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        adapter = load()
        with self._lock:
            if key not in self._held and adapter.bytes <= self.max_bytes:
                self._held[key] = adapter
                self.n_bytes += adapter.bytes
                while self.n_bytes > self.max_bytes:
                    _, oldest = self._held.popitem(last=False)
                    self.n_bytes -= oldest.bytes
            return self._held.get(key, adapter)
