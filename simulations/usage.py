"""How much of the cluster was in use, exactly: integrals over virtual time, not samples."""

from __future__ import annotations

from allocator.domain.resources import Resources


class Usage:
    """Adds up resource-seconds held and offered, by resource, in the resource's integer unit x seconds.

    Held is what gangs occupy while every node of theirs is up; offered is the capacity of nodes that are up.
    """

    def __init__(self, start: float) -> None:
        self._time = start
        self._held: dict[str, int] = {}
        self._offered: dict[str, int] = {}
        self._held_seconds: dict[str, float] = {}
        self._offered_seconds: dict[str, float] = {}

    def hold(self, amounts: Resources, sign: int, now: float) -> None:
        """From `now` on, `amounts` more (sign 1) or less (sign -1) are held."""
        self._advance(now)
        _change(self._held, amounts, sign)

    def offer(self, amounts: Resources, sign: int, now: float) -> None:
        """From `now` on, `amounts` more or less are offered."""
        self._advance(now)
        _change(self._offered, amounts, sign)

    def totals(self, now: float) -> tuple[dict[str, float], dict[str, float]]:
        """(held, offered) resource-seconds until `now`."""
        self._advance(now)
        return dict(self._held_seconds), dict(self._offered_seconds)

    def _advance(self, now: float) -> None:
        elapsed = now - self._time
        if elapsed > 0:
            for amounts, seconds in ((self._held, self._held_seconds), (self._offered, self._offered_seconds)):
                for resource, amount in amounts.items():
                    if amount:
                        seconds[resource] = seconds.get(resource, 0.0) + amount * elapsed
            self._time = now


def _change(amounts: dict[str, int], by: Resources, sign: int) -> None:
    for resource, amount in by.items():
        amounts[resource] = amounts.get(resource, 0) + sign * amount
