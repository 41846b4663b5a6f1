"""Charts and the PromQL in them: small pieces that `panels.py` is made of.

Queries name metrics only through `allocator.metrics.names`, so none can be misspelt. `$job` is the scrape job chosen on
the dashboard, `$queue` and `$flavor` what is selected there; `$__rate_interval` is Grafana's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from allocator.metrics import names
from allocator.metrics.names import Family

GRAFANA_UNITS: Mapping[str, str] = {
    "cpu": "short", "gpu": "short", "memory": "bytes", "bandwidth": "Bps", "disk": "bytes", names.EXTRA: "short",
}  # fmt: skip


class Look(Enum):
    """How a chart is drawn."""

    LINES = "lines"
    STACK = "stack"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and the legend of its series, with `{{label}}` for the value of a label."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """`unit` is one of Grafana's; `width` in 24ths of the page. `warn_above` colours a number that exceeds it."""

    title: str
    help: str
    queries: tuple[Query, ...]
    unit: str = "short"
    look: Look = Look.LINES
    width: int = 8
    warn_above: float | None = None


def series(family: Family, *matchers: str, suffix: str = "") -> str:
    """A selector of the chosen scrape job; queues and flavors are restricted to the selected ones."""
    selected = [f'{label}=~"${label}"' for label in ("queue", "flavor") if label in family.labels]
    matching = ",".join(['job="$job"', *selected, *matchers])
    return f"{family.name}{suffix}{{{matching}}}"


def rate(family: Family, by: str, *matchers: str) -> str:
    """Increase per second of a counter, summed over every label but those in `by`."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({series(family, *matchers)}[$__rate_interval]))"


def total(family: Family, *matchers: str) -> str:
    """Sum over all labels."""
    return f"sum({series(family, *matchers)})"


def quantile(fraction: float, family: Family, by: str = "") -> str:
    """A quantile of what a histogram saw in the interval."""
    labels = f"{by}, le" if by else "le"
    buckets = series(family, suffix="_bucket")
    return f"histogram_quantile({fraction}, sum by ({labels}) (rate({buckets}[$__rate_interval])))"


def quantiles(family: Family) -> tuple[Query, ...]:
    """Median and 99 %."""
    return (Query(quantile(0.5, family), "median"), Query(quantile(0.99, family), "99 %"))
