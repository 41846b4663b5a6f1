"""How long an answer to a question gives way to rounds: while one is under way, but not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 10.0
"""That one answer waits for rounds, in all its checkpoints together: rounds that never rest stop no answers."""


class Patience:
    """Of one answer; called at its checkpoints. `rest` waits, at most for so many seconds, until no round is under
    way.
    """

    def __init__(self, rest: Callable[[float], object], seconds: float = PATIENCE_SECONDS) -> None:
        self._rest = rest
        self._left = seconds

    def __call__(self) -> None:
        if self._left <= 0:
            return
        begun = time.monotonic()
        self._rest(self._left)
        self._left -= time.monotonic() - begun
