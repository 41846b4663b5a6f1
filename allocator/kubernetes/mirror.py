"""A copy of all objects of one kind, kept true by a list and then a watch, for as long as the server answers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from allocator.client import RetryPolicy
from allocator.kubernetes.api import Expired, Server, ServerAway, ServerRefused
from allocator.kubernetes.observed import Object

T = TypeVar("T")
log = logging.getLogger(__name__)


class Mirror(Generic[T]):
    """`read` makes of an object what is kept of it; None: nothing. `changed` is called after every change.

    `run` until cancelled: when a watch ends it goes on where it was; when that is too long ago everything is listed
    again; when the server is away it is asked again, with growing delays.
    """

    def __init__(
        self,
        server: Server,
        path: str,
        read: Callable[[Object], T | None],
        changed: Callable[[], None],
        selector: str = "",
        patience: RetryPolicy = RetryPolicy(first_delay=0.2, longest_delay=15.0),  # noqa: B008 - frozen
    ) -> None:
        self._server, self._path, self._read, self._selector = server, path, read, selector
        self._changed, self._patience = changed, patience
        self._found: dict[tuple[str, str], T] = {}
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self.is_known = False
        """Whether it was listed once: before, nothing may be concluded from what is not there."""
        self.is_away = False

    @property
    def found(self) -> Mapping[tuple[str, str], T]:
        """By namespace and name."""
        return self._found

    async def run(self) -> None:
        failures = 0
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                async for kind, item in self._server.watch(self._path, version, self._selector):
                    failures = 0
                    version = item["metadata"]["resourceVersion"] if item else version
                    self._take(kind, item)
                await asyncio.sleep(self._patience.delay(0, self._rng))  # nobody may make us ask without a pause
            except Expired:
                version = ""
            except (ServerAway, ServerRefused) as error:
                if not failures:
                    log.warning("cannot follow %s: %s", self._path, error)
                if isinstance(error, ServerRefused):
                    version = ""
                self.is_away = True
                self._changed()
                await asyncio.sleep(self._patience.delay(failures, self._rng))
                failures += 1

    async def _list(self) -> str:
        items, version = await self._server.everything(self._path, self._selector)
        found = {}
        for item in items:
            value = self._read(item)
            if value is not None:
                found[_key(item)] = value
        self._found, self.is_known, self.is_away = found, True, False
        self._changed()
        return version

    def _take(self, kind: str, item: Object) -> None:
        was_away, self.is_away = self.is_away, False
        if kind in ("OPEN", "BOOKMARK"):
            if was_away:
                self._changed()
            return
        value = None if kind == "DELETED" else self._read(item)
        if value is None:
            self._found.pop(_key(item), None)
        else:
            self._found[_key(item)] = value
        self._changed()


def _key(item: Object) -> tuple[str, str]:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
