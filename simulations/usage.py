"""How much of the cluster was in use: exact integrals over virtual time, and by flavor what was so after each round."""

from __future__ import annotations

from collections.abc import Iterable

from allocator.domain.resources import Resources
from allocator.rounds.report import FlavorUsage


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


class FlavorShares:
    """How full each flavor was in each resource: after the commit of each round, held until the next one."""

    def __init__(self) -> None:
        self._time = 0.0
        self._last: dict[tuple[str, str], tuple[int, int]] = {}
        self._seconds: dict[tuple[str, str], tuple[float, float]] = {}
        self._peak: dict[tuple[str, str], float] = {}

    def add(self, usages: Iterable[FlavorUsage], now: float) -> None:
        """What holds from the round at `now` on."""
        self._advance(now)
        self._last = {(usage.flavor, usage.resource): (usage.allocated, usage.capacity) for usage in usages}
        for key, (held, offered) in self._last.items():
            if offered:
                self._peak[key] = max(self._peak.get(key, 0.0), held / offered)

    def result(self, now: float) -> dict[str, dict[str, dict[str, float]]]:
        """By flavor and resource: `mean`, held over offered until `now`, and `peak`, of any round."""
        self._advance(now)
        found: dict[str, dict[str, dict[str, float]]] = {}
        for (flavor, resource), peak in sorted(self._peak.items()):
            held, offered = self._seconds.get((flavor, resource), (0.0, 0.0))
            found.setdefault(flavor, {})[resource] = {"mean": held / offered if offered else peak, "peak": peak}
        return found

    def _advance(self, now: float) -> None:
        elapsed = now - self._time
        for key, (held, offered) in self._last.items():
            before = self._seconds.get(key, (0.0, 0.0))
            self._seconds[key] = (before[0] + held * elapsed, before[1] + offered * elapsed)
        self._time = now


def _change(amounts: dict[str, int], by: Resources, sign: int) -> None:
    for resource, amount in by.items():
        amounts[resource] = amounts.get(resource, 0) + sign * amount
