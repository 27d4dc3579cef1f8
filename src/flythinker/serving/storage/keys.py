"""The API keys that the server remembers."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import insert, select, update

from flythinker.errors import FlyThinkerError
from flythinker.serving.storage.base import StoreBase
from flythinker.serving.storage.database import keys, utc, writing


@dataclass(frozen=True)
class Key:
    """An API key without its secret. `revoked` is when it ended, `None` while it is valid."""

    id: str
    tenant: str
    name: str
    created: datetime
    revoked: datetime | None


class KeyStore(StoreBase):
    """The keys of tenants."""

    def create_key(self, tenant: str, name: str = "") -> tuple[Key, str]:
        """A new key of a tenant, and its secret, which nobody can read again."""
        key = Key(secrets.token_hex(4), tenant, name, datetime.now(UTC), None)
        secret = f"fly-{secrets.token_urlsafe(32)}"
        with writing(self._engine) as connection:
            connection.execute(insert(keys).values(**vars(key), hash=_hash(secret)))
        return key, secret

    def api_keys(self) -> list[Key]:
        """All keys, also revoked ones, in the order they were made."""
        query = select(keys).order_by(keys.c.created, keys.c.id)
        with self._engine.connect() as connection:
            return [
                Key(row.id, row.tenant, row.name, utc(row.created), utc(row.revoked))
                for row in connection.execute(query)
            ]

    def has_keys(self) -> bool:
        """Whether there is a valid key."""
        return any(key.revoked is None for key in self.api_keys())

    def revoke_key(self, id: str) -> None:
        """End a key now.

        Raises:
            FlyThinkerError: there is no such key; revoked before is no error.
        """

        def at_once() -> None:
            with writing(self._engine) as connection:
                if connection.scalar(select(keys.c.id).where(keys.c.id == id)) is None:
                    raise FlyThinkerError(f"no key '{id}'; `flythinker keys list` shows them")
                valid = (keys.c.id == id) & keys.c.revoked.is_(None)
                connection.execute(update(keys).where(valid).values(revoked=datetime.now(UTC)))

        self._taking_away(at_once)

    def tenant_of(self, secret: str) -> str | None:
        """The tenant whose key it is; `None`: it is nobody's, or revoked."""
        valid = (keys.c.hash == _hash(secret)) & keys.c.revoked.is_(None)
        with self._engine.connect() as connection:
            return connection.scalar(select(keys.c.tenant).where(valid))


def _hash(secret: str) -> str:
    """A secret is 256 random bits, so one round is enough: there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()
