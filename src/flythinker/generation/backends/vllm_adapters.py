"""The persons' adapters that a vLLM has loaded."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import openai

from flythinker.adapter import Adapter, save_for_vllm

RANK = 8
"""The largest of an adapter; vLLM keeps room for it, whatever the adapters' are."""

ROOM = 64
"""Adapters that stay loaded; one of a large model may have 40 MB."""


@dataclass(eq=False)
class _Loaded:
    """An adapter in vLLM, or on its way there, under a name that no other has had."""

    adapter: Adapter
    name: str
    loading: asyncio.Task[None]
    texts: int = 0  # that are written with it now


class VllmAdapters:
    """The persons' adapters in a vLLM that was started for them: loaded when first needed.

    What vLLM has a name for it may read again, so an adapter's folder lies there until its name is
    taken away: when `ROOM` others were needed since, or its person is forgotten, but never while a
    text is written with it.
    """

    def __init__(self, client: openai.AsyncOpenAI, base: str, folder: Path) -> None:
        """
        Args:
            client: of vLLM, which runs on this machine with `--enable-lora` and lets adapters come
                and go (`VLLM_ALLOW_RUNTIME_LORA_UPDATING`).
            base: `fingerprint` of its Reasoner.
            folder: an empty one, which nobody else may read; adapters hold traces of texts.
        """
        self.base = base
        self._client = client
        self._folder = folder
        self._numbers = count(1)
        self._held: dict[str, _Loaded] = {}  # by version, the least recently needed first
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unloading: set[asyncio.Task[None]] = set()

    def takes(self, adapter: Adapter) -> bool:
        """Whether texts can be written with it: it changes this model, and is small enough."""
        return adapter.about.base == self.base and adapter.rank <= RANK

    @asynccontextmanager
    async def loaded(self, adapter: Adapter) -> AsyncIterator[str]:
        """What requests call the model with `adapter`, as long as the context is open.

        Raises:
            openai.APIError: vLLM could not load it.
        """
        self._loop = asyncio.get_running_loop()
        held = self._held.pop(adapter.version, None) or self._begin(adapter)
        self._held[adapter.version] = held
        held.texts += 1
        try:
            await asyncio.shield(held.loading)  # others may wait for it too
            yield held.name
        finally:
            held.texts -= 1
            self._leave(held)

    def forget(self, user: str) -> None:
        """Take away what was learned of a user as soon as nothing is written with it.

        A user of the same name of another tenant is loaded again when needed. May be called on any
        thread.
        """
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._forget, user)

    def _begin(self, adapter: Adapter) -> _Loaded:
        name = f"adapter-{next(self._numbers)}"  # vLLM tells cached prompts apart by it
        return _Loaded(adapter, name, asyncio.create_task(self._load(adapter, name)))

    async def _load(self, adapter: Adapter, name: str) -> None:
        path = self._folder / name
        try:
            await asyncio.to_thread(save_for_vllm, path, adapter)
            await self._post("load", {"lora_name": name, "lora_path": str(path)})
        except Exception:
            if (held := self._held.get(adapter.version)) and held.name == name:
                del self._held[adapter.version]
            shutil.rmtree(path, ignore_errors=True)
            raise

    def _leave(self, held: _Loaded) -> None:
        """A text is written: what was forgotten meanwhile goes, and what is too much."""
        if not held.texts and self._held.get(held.adapter.version) is not held:
            self._unload(held)
        idle = [one for one in self._held.values() if not one.texts]
        for one in idle[: max(len(self._held) - ROOM, 0)]:
            del self._held[one.adapter.version]
            self._unload(one)

    def _forget(self, user: str) -> None:
        for held in [one for one in self._held.values() if one.adapter.about.user == user]:
            del self._held[held.adapter.version]
            if not held.texts:
                self._unload(held)

    def _unload(self, held: _Loaded) -> None:
        task = asyncio.create_task(self._take_away(held))
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)

    async def _take_away(self, held: _Loaded) -> None:
        await asyncio.wait([held.loading])
        with suppress(openai.APIError):  # vLLM has ended
            await self._post("unload", {"lora_name": held.name})
        shutil.rmtree(self._folder / held.name, ignore_errors=True)

    async def _post(self, what: str, body: dict[str, str]) -> None:
        await self._client.post(f"/{what}_lora_adapter", cast_to=str, body=body)
