"""How long an answer to a question gives way to rounds: while one is under way, but not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 10.0
"""That one answer waits for rounds, in all its checkpoints together: rounds that never rest stop no answers."""
_OF_THE_CLIENT = 0.5
"""Part of the time that a client waits; the rest is for the answer itself."""


def patience_within(remaining: float | None) -> float:
    """Seconds that an answer may wait for rounds whose client waits for so long; None: for ever."""
    return PATIENCE_SECONDS if remaining is None else min(PATIENCE_SECONDS, max(0.0, _OF_THE_CLIENT * remaining))


class Patience:
    """Of one answer; called at its checkpoints. `rest` waits, at most for so many seconds, until no round is under
    way. Nothing is waited for once the answer is not `wanted` any more: others wait for the thread.
    """

    def __init__(
        self,
        rest: Callable[[float], object],
        seconds: float = PATIENCE_SECONDS,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._rest = rest
        self._left = seconds
        self._wanted = wanted

    def __call__(self) -> None:
        if self._left <= 0 or not self._wanted():
            return
        begun = time.monotonic()
        self._rest(self._left)
        self._left -= time.monotonic() - begun
