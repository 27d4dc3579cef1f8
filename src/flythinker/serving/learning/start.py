"""Whether a server learns users at all, and where."""

import logging
import shutil
from functools import partial
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from flythinker.errors import FlyThinkerError
from flythinker.files import user_cache
from flythinker.generation.backends.protocol import Engine
from flythinker.limits import free_memory
from flythinker.serving.learning.learner import LOCK, Learner
from flythinker.serving.storage.database import parse_url, sqlite_file
from flythinker.serving.storage.store import Store

logger = logging.getLogger(__name__)

NO_REASONER = "this model has no Reasoner to learn with: leave --adapt-after out"

_LEARNING_BYTES = 10**9
"""Of memory that learning takes beside the model: libraries, activations, what is learned."""


def make_learner(
    model: str, numbers: int, engine: Engine, store: Store, database: str, after: int | None
) -> Learner | None:
    """What learns users who have `after` new words; `None`: nothing, by `after` or for memory.

    What an earlier server with this database left half learned is deleted where nothing learns.

    Args:
        model: folder or name of what `engine` writes with.
        numbers: of the model, its weights.
        engine: which must be idle for anything to be learned.
        store: of the users, and the URL of its `database`.
        after: words; `None`: learn nobody.

    Raises:
        FlyThinkerError: the model has no Reasoner that could learn somebody.
    """
    work = _work_folder(database)
    if after is not None and engine.adapter_base is None:
        raise FlyThinkerError(NO_REASONER)
    needed, free = 4 * numbers + _LEARNING_BYTES, free_memory()
    if after is not None and needed <= free:
        busy = partial(_is_busy, engine)
        return Learner(store, busy, model, str(engine.adapter_base), after, work)
    if after is not None:
        logger.warning(
            "--adapt-after is off: learning takes a second copy of the model, "
            f"{needed / 1e9:.1f} GB of memory, of which {free / 1e9:.1f} GB are free"
        )
    if work.exists():
        try:
            with FileLock(work / LOCK, timeout=0):
                shutil.rmtree(work)
        except Timeout:
            pass  # another server learns with it
    return None


def _is_busy(engine: Engine) -> bool:
    stats = engine.stats()
    return stats.waiting + stats.working > 0


def _work_folder(database: str) -> Path:
    """Beside a SQLite database, and for PostgreSQL in the cache."""
    url = parse_url(database)
    if file := sqlite_file(url):
        return file.absolute().with_name(f"{file.name}.learning")
    place = f"{url.host} {url.port} {url.database} {sorted(url.query.items())}"
    return user_cache() / "learning" / sha256(place.encode()).hexdigest()[:16]
