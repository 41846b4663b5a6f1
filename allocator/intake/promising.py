"""Whether a deadline or a minimum throughput can ever hold, even for a job that has the data center to itself. Pure."""

from __future__ import annotations

from allocator.domain.cluster import Node
from allocator.domain.job import JobSpec
from allocator.intake.feasibility import fitting

_SLACK = 1.001
"""What clocks and rounding may differ by."""


def never_kept(spec: JobSpec, nodes: tuple[Node, ...], now: float, floating: tuple[str, ...] = ()) -> str | None:
    """Why what the job asks for cannot be promised at time `now`, and what could be; None if it may hold.

    `nodes` are all that are known; while there are none, each would do. `floating` resources belong to none. Where
    nobody declared how fast it runs, it may run fast enough.
    """
    if not spec.wants_promise:
        return None
    there = fitting(spec, nodes, floating) if nodes else [c for c in spec.configurations if c.throughput > 0]
    if not there:
        return None  # it cannot run at all, which is said elsewhere
    best = max(configuration.throughput for configuration in spec.configurations)
    fastest = max(there, key=lambda configuration: configuration.throughput)
    known = spec.is_declared
    if spec.deadline is not None and spec.expected_duration_seconds is not None:
        needs = spec.expected_duration_seconds * (best / fastest.throughput if known else 1.0)
        left = spec.deadline - now
        if needs > left * _SLACK:
            time = f"is in {_spoken(left)}" if left > 0 else f"is past, by {_spoken(-left)}"
            return (
                f"its deadline {time}, and alone on {fastest.flavor} it needs {_spoken(needs)}; "
                f"one in {_spoken(needs)} could hold"
            )
    minimum = spec.minimum_throughput
    if minimum is not None and known and minimum > fastest.throughput * _SLACK:
        return (
            f"it wants a throughput of {minimum:g} per second at least, and alone on {fastest.flavor}, where it is "
            f"fastest, it has {fastest.throughput:g}; a minimum of {fastest.throughput:g} or less could hold"
        )
    return None


def _spoken(seconds: float) -> str:
    """A length of time in its largest units: 90 s, 25 min, 3.5 h, 12 days."""
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.0f} s"
