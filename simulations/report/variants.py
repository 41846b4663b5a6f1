"""Which replays are of the same workload, and which of them differ in the seed alone.

Replays of one workload can be compared; a workload is known by its name, its nodes, and what was assumed or changed
(load, restart cost). Within it, replays of the same settings are one variant, with a result for each seed. A variant is
named by its scheduler, and by the settings in which the variants of the workload differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from allocator.domain.errors import InvalidInput
from simulations.report.figures import Figure
from simulations.report.results import Result
from simulations.report.significance import Interval, mean_interval, ratio_interval

OUTCOMES = frozenset({"ending", "end_s", "seed"})
"""Of what a summary says of its run: what is no setting."""
Settings = dict[str, str]


@dataclass(frozen=True)
class Variant:
    """Replays that differ only in the seed, by seed."""

    name: str
    settings: Settings
    """Those in which the variants of the workload differ."""
    by_seed: Mapping[int, Result]

    @cached_property
    def first(self) -> Result:
        return next(iter(self.by_seed.values()))

    def values(self, figure: Figure, seeds: Sequence[int] | None = None) -> list[float]:
        """Of these seeds, or all; only where there is one."""
        chosen = self.by_seed.keys() if seeds is None else seeds
        found = [figure.of(self.by_seed[seed].summary) for seed in chosen]
        return [value for value in found if value is not None]

    def interval(self, figure: Figure) -> Interval | None:
        return mean_interval(self.values(figure))

    def ratio_to(self, other: Variant, figure: Figure) -> Interval | None:
        """This one's figure over the other's, over the seeds that both have; None without any, or with a 0."""
        seeds = [seed for seed in self.by_seed if seed in other.by_seed]
        ones, others = self.values(figure, seeds), other.values(figure, seeds)
        return ratio_interval(ones, others) if len(ones) == len(others) == len(seeds) else None


@dataclass(frozen=True)
class Comparison:
    """All variants of one workload, in the order in which they were given, over the seeds that all of them have: of
    different seeds, some are harder. If they have none in common, each keeps its own.
    """

    workload: dict[str, Any]
    variants: tuple[Variant, ...]
    left_out: tuple[str, ...] = ()
    """Names of the replays with seeds that not all have."""

    @property
    def name(self) -> str:
        return str(self.workload["name"])

    @cached_property
    def results(self) -> tuple[Result, ...]:
        return tuple(result for variant in self.variants for result in variant.by_seed.values())

    @property
    def paired(self) -> bool:
        """Whether all have the same seeds."""
        return all(one.by_seed.keys() == self.variants[0].by_seed.keys() for one in self.variants)


def comparisons(results: Sequence[Result]) -> tuple[Comparison, ...]:
    """One per workload. Raises InvalidInput for two replays with the same settings and seed of different workloads."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(_workload_key(result), []).append(result)
    return tuple(_comparison(group) for group in groups.values())


def _workload_key(result: Result) -> str:
    workload = result.summary["workload"]
    notes = workload.get("notes", workload.get("assumptions"))
    return json.dumps([workload.get("name"), workload.get("nodes"), notes], sort_keys=True)


def _comparison(results: Sequence[Result]) -> Comparison:
    _require_same_jobs(results)
    settings = [dict(_flat(result.summary["run"])) for result in results]
    keys = sorted({key for found in settings for key in found})
    differing = [key for key in keys if len({found.get(key) for found in settings}) > 1]
    groups: dict[str, list[Result]] = {}
    said: dict[str, Settings] = {}
    for result, found in zip(results, settings, strict=True):
        key = json.dumps(found, sort_keys=True)
        groups.setdefault(key, []).append(result)
        said[key] = {name: found.get(name, "") for name in differing}
    names = _names([said[key] for key in groups], [groups[key][0] for key in groups])
    variants = []
    for name, (key, members) in zip(names, groups.items(), strict=True):
        by_seed: dict[int, Result] = {}
        for member in sorted(members, key=lambda each: each.seed):
            by_seed.setdefault(member.seed, member)
        variants.append(Variant(name, said[key], by_seed))
    return _over_common_seeds(results[0].summary["workload"], variants)


def _over_common_seeds(workload: dict[str, Any], variants: Sequence[Variant]) -> Comparison:
    shared = set.intersection(*(set(variant.by_seed) for variant in variants))
    if not shared:
        return Comparison(workload, tuple(variants))
    kept = []
    left_out: list[str] = []
    for variant in variants:
        left_out += [result.name for seed, result in variant.by_seed.items() if seed not in shared]
        by_seed = {seed: result for seed, result in variant.by_seed.items() if seed in shared}
        kept.append(Variant(variant.name, variant.settings, by_seed))
    return Comparison(workload, tuple(kept), tuple(left_out))


def _require_same_jobs(results: Sequence[Result]) -> None:
    """With the same seed it must be the same jobs."""
    seen: dict[int, Result] = {}
    for result in results:
        before = seen.setdefault(result.seed, result)
        for key in ("jobs", "start_s"):
            one, other = before.summary["workload"].get(key), result.summary["workload"].get(key)
            if one != other:
                raise InvalidInput.of(
                    f"workload.{key}",
                    f"must be the same in replays of {result.summary['workload']['name']} with seed {result.seed}; got "
                    f"{one!r} in {before.name} and {other!r} in {result.name}",
                )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by dotted name, as text."""
    for name, value in settings.items():
        if not prefix and name in OUTCOMES:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value, sort_keys=True)


SHORT = 3
"""Most settings in a name."""


def _names(settings: Sequence[Settings], examples: Sequence[Result]) -> list[str]:
    """By scheduler and settings where that is short and tells them apart, otherwise by folder."""
    schedulers = [str(result.summary["run"].get("scheduler", "allocator")) for result in examples]
    if len(set(schedulers)) == len(schedulers):
        return schedulers
    names = []
    for scheduler, found in zip(schedulers, settings, strict=True):
        alike = [other for name, other in zip(schedulers, settings, strict=True) if name == scheduler]
        usual = {key: _commonest([other[key] for other in alike]) for key in found}
        own = [
            f"{_last(key)} {found[key].removesuffix('.0')}"
            for key in found
            if key != "scheduler" and found[key] != usual[key]
        ]
        names.append(" ".join([scheduler, *([", ".join(own)] if own else [])]))
        if len(own) > SHORT or len(names[-1]) > 48:
            names[-1] = ""
    found_names = [name or example.name for name, example in zip(names, examples, strict=True)]
    return found_names if len(set(found_names)) == len(found_names) else [example.name for example in examples]


def _commonest(values: Sequence[str]) -> str:
    return max(values, key=values.count)


def _last(key: str) -> str:
    return key.rpartition(".")[2].removesuffix("_seconds").replace("_", " ")
