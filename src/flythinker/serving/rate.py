"""How many requests a minute a tenant may make, by the API and by the page together."""

import math
import time
from threading import Lock

from flythinker.serving.errors import RateLimited


class Rate:
    """A bucket of tokens a tenant, full at first: bursts pass, a steady excess does not."""

    def __init__(self, per_minute: int) -> None:
        """0: no limit."""
        self._capacity = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}  # by tenant: tokens, and at what time
        self._lock = Lock()

    def take(self, tenant: str) -> None:
        """Count one request.

        Raises:
            RateLimited: the tenant has no token left.
        """
        if not self._capacity:
            return
        per_second = self._capacity / 60
        with self._lock:
            now = time.monotonic()
            tokens, since = self._buckets.get(tenant, (self._capacity, now))
            tokens = min(self._capacity, tokens + (now - since) * per_second)
            if tokens < 1:
                wait = math.ceil((1 - tokens) / per_second)
                raise RateLimited(f"more than {self._capacity} requests a minute", wait)
            self._buckets[tenant] = tokens - 1, now
