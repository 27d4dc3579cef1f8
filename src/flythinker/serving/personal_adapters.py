"""The adapters that requests are written with: as the store has them now, held in memory."""

from flythinker.adaptation.adapters import Adapters
from flythinker.adapter import Adapter
from flythinker.generation.backends.protocol import Engine
from flythinker.serving.storage.store import Store

_HELD_BYTES = 2**26
"""Of the adapters of those who wrote last; one is about a megabyte."""


class PersonalAdapters:
    """Users' adapters for one engine. May be called from any thread."""

    def __init__(self, store: Store, engine: Engine) -> None:
        self._store, self._engine = store, engine
        self._held = Adapters(_HELD_BYTES)

    def of(self, tenant: str, user: str) -> Adapter | None:
        """The user's adapter as it is now; `None`: none, or one of another model."""
        base = self._engine.adapter_base
        key = self._store.adapter_key(tenant, user) if base else None
        if key is None or key.base != base:
            return None
        try:
            return self._held.get(key, lambda: self._load(tenant, user))
        except _NoAdapter:
            return None

    def _load(self, tenant: str, user: str) -> Adapter:
        found = self._store.adapter(tenant, user)
        if found is None or not self._engine.takes(found[1]):  # forgotten meanwhile, or replaced
            raise _NoAdapter
        return found[1]


class _NoAdapter(Exception):
    """There is none to be held."""
