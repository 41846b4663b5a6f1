"""Counters and histograms as prometheus-client makes them, built from the table of names, each read by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from allocator.metrics.names import Family, Kind

EMPTY: Mapping[Kind, type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
}


def empty(family: Family) -> Metric:
    """`family` without samples, to describe it."""
    return EMPTY[family.kind](family.name, family.help, labels=family.labels)


def gauge(family: Family, samples: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """A gauge with (label values, value) for each sample."""
    metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in samples:
        metric.add_metric(labels, value)
    return metric


def counter(family: Family, samples: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """A counter whose totals somebody else keeps."""
    metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in samples:
        metric.add_metric(labels, value)
    return metric


class Accumulators:
    """The counters and histograms of some families. Adding is thread-safe, a label set begins with its first use."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for family in families:
            if family.kind is Kind.COUNTER:
                self._counters[family.name] = Counter(family.name, family.help, family.labels, registry=None)
            elif family.kind is Kind.HISTOGRAM:
                self._histograms[family.name] = Histogram(
                    family.name, family.help, family.labels, registry=None, buckets=family.buckets
                )

    def add(self, family: Family, labels: tuple[str, ...] = (), amount: float = 1.0) -> None:
        """Increase a counter by `amount` >= 0; 0 makes the series exist."""
        found = self._counters[family.name]
        (found.labels(*labels) if labels else found).inc(amount)

    def observe(self, family: Family, value: float, labels: tuple[str, ...] = ()) -> None:
        """Put one value into a histogram."""
        found = self._histograms[family.name]
        (found.labels(*labels) if labels else found).observe(value)

    def begin(self, family: Family, labels: tuple[str, ...]) -> None:
        """Make a histogram's series exist, with nothing in them."""
        self._histograms[family.name].labels(*labels)

    def drop(self, family: Family, label: str, values: Iterable[str]) -> None:
        """Forget every series of `family` whose `label` is one of `values`."""
        instrument = self._counters.get(family.name) or self._histograms[family.name]
        for value in values:
            instrument.remove_by_labels({label: value})

    def collect(self) -> list[Metric]:
        """All of them; the creation times that OpenMetrics adds are left out, they would double the series."""
        collected = []
        for instrument in (*self._counters.values(), *self._histograms.values()):
            for metric in instrument.collect():
                metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
                collected.append(metric)
        return collected
