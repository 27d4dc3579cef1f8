"""The adapters that requests are written with, in memory as long as there is room for them."""

from collections import OrderedDict
from threading import Lock

from flythinker.adaptation.adapter import Adapter
from flythinker.serving.storage.adapters import AdapterKey
from flythinker.serving.storage.store import Store

_KEPT_BYTES = 2**26
"""Of the adapters of those who wrote last; one is about a megabyte."""


class PersonalAdapters:
    """Users' adapters for one model. May be called from any thread."""

    def __init__(self, store: Store, base: str | None) -> None:
        """`base`: the fingerprint of the model; `None`: it takes no adapters."""
        self._store, self._base = store, base
        self._kept: OrderedDict[AdapterKey, Adapter] = OrderedDict()
        self._lock = Lock()

    def of(self, tenant: str, user: str) -> Adapter | None:
        """The user's adapter as it is now; `None`: none, or one of another model."""
        if self._base is None:
            return None
        while True:
            key = self._store.adapter_key(tenant, user)
            if key is None or key.base != self._base:
                return None
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            found = self._store.adapter(tenant, user)
            if found is not None and found[0] == key:
                return self._keep(*found)

    def _keep(self, key: AdapterKey, adapter: Adapter) -> Adapter:
        with self._lock:
            self._kept[key] = adapter
            total = sum(one.bytes for one in self._kept.values())
            while total > _KEPT_BYTES and len(self._kept) > 1:
                total -= self._kept.popitem(last=False)[1].bytes
        return adapter
