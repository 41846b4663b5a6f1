"""Integer amounts of everything a node has and a job asks for.

Quantities are integers in the smallest unit anybody schedules by, so sums are exact and comparisons mean what
they say. Floats appear only in `allocator.formulation`.

| resource  | unit here                  | why                                          |
|-----------|----------------------------|----------------------------------------------|
| cpu       | millicores                 | fractions of a core are common               |
| gpu       | milli-GPUs                 | a GPU may be shared: 500 is half of one      |
| memory    | bytes                      |                                              |
| bandwidth | bytes per second           | Prometheus' base unit, although NICs say bits |
| disk      | bytes                      |                                              |
| any other | units, as the node says    | licences, FPGAs, ports                       |
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from allocator.domain.errors import Violation

GPU_MILLIS = 1000
"""One whole GPU."""

MAX_AMOUNT = 2**53
"""Largest accepted amount: every accepted integer is exact as a double in the formulation."""

_EXTRA_NAME = re.compile(r"[a-z][a-z0-9_.\-/]{0,62}\Z")


@dataclass(frozen=True, slots=True)
class Resources:
    """A vector of amounts, all zero unless given. `extra` is sorted by name and holds no zeros."""

    cpu_millicores: int = 0
    gpu_millis: int = 0
    memory_bytes: int = 0
    bandwidth_bytes_per_second: int = 0
    disk_bytes: int = 0
    extra: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, amounts: Mapping[str, int]) -> Resources:
        """From resource names (`cpu`, `gpu`, `memory`, `bandwidth`, `disk`, or an extra's) to amounts."""
        known = {field: amounts.get(name, 0) for name, field in FIELD_BY_RESOURCE.items()}
        extra = sorted((name, amount) for name, amount in amounts.items() if name not in FIELD_BY_RESOURCE and amount)
        return cls(**known, extra=tuple(extra))

    def get(self, name: str) -> int:
        """The amount of one resource; zero where it is not mentioned."""
        field = FIELD_BY_RESOURCE.get(name)
        if field is not None:
            return int(getattr(self, field))
        return dict(self.extra).get(name, 0)

    def items(self) -> Iterator[tuple[str, int]]:
        """(resource name, amount) of everything that is not zero, standard resources first."""
        for name, field in FIELD_BY_RESOURCE.items():
            amount = getattr(self, field)
            if amount:
                yield name, amount
        yield from self.extra

    def __add__(self, other: Resources) -> Resources:
        return self._combine(other, 1)

    def __sub__(self, other: Resources) -> Resources:
        """May go below zero: what is missing, if anything."""
        return self._combine(other, -1)

    def __mul__(self, factor: int) -> Resources:
        return Resources(
            self.cpu_millicores * factor,
            self.gpu_millis * factor,
            self.memory_bytes * factor,
            self.bandwidth_bytes_per_second * factor,
            self.disk_bytes * factor,
            tuple((name, amount * factor) for name, amount in self.extra if amount * factor),
        )

    def _combine(self, other: Resources, sign: int) -> Resources:
        extra = self.extra
        if other.extra:
            merged = dict(self.extra)
            for name, amount in other.extra:
                merged[name] = merged.get(name, 0) + sign * amount
            extra = tuple(sorted((name, amount) for name, amount in merged.items() if amount))
        return Resources(
            self.cpu_millicores + sign * other.cpu_millicores,
            self.gpu_millis + sign * other.gpu_millis,
            self.memory_bytes + sign * other.memory_bytes,
            self.bandwidth_bytes_per_second + sign * other.bandwidth_bytes_per_second,
            self.disk_bytes + sign * other.disk_bytes,
            extra,
        )

    def fits_in(self, available: Resources) -> bool:
        """Whether every amount is at most what is available."""
        return not self.shortage(available)

    def shortage(self, available: Resources) -> dict[str, int]:
        """By resource, how much more than `available` this asks for; empty when it fits."""
        missing = {}
        for name, amount in self.items():
            lacking = amount - available.get(name)
            if lacking > 0:
                missing[name] = lacking
        return missing

    def violations(self) -> tuple[Violation, ...]:
        """What is wrong with the amounts themselves: negative, too large, or badly named."""
        found = []
        for field in FIELD_BY_RESOURCE.values():
            amount = getattr(self, field)
            if not 0 <= amount <= MAX_AMOUNT:
                found.append(Violation(field, f"must be between 0 and {MAX_AMOUNT}, got {amount}"))
        for name, amount in self.extra:
            if name in FIELD_BY_RESOURCE or not _EXTRA_NAME.match(name):
                found.append(
                    Violation(
                        f"extra[{name!r}]",
                        "must start with a lower-case letter, hold only a-z 0-9 _ . - /, be at most 63 long, "
                        "and not be a standard resource's name",
                    )
                )
            if not 0 <= amount <= MAX_AMOUNT:
                found.append(Violation(f"extra[{name!r}]", f"must be between 0 and {MAX_AMOUNT}, got {amount}"))
        return tuple(found)

    def gpu_violation(self) -> Violation | None:
        """A replica takes whole GPUs, or a fraction of one GPU; 1,500 milli-GPUs is neither."""
        if self.gpu_millis > GPU_MILLIS and self.gpu_millis % GPU_MILLIS:
            return Violation(
                "gpu_millis", f"must be at most {GPU_MILLIS} or a multiple of it (whole GPUs), got {self.gpu_millis}"
            )
        return None


FIELD_BY_RESOURCE: dict[str, str] = {
    "cpu": "cpu_millicores",
    "gpu": "gpu_millis",
    "memory": "memory_bytes",
    "bandwidth": "bandwidth_bytes_per_second",
    "disk": "disk_bytes",
}
"""Standard resources in canonical order, and the field that holds each."""

STANDARD_RESOURCES: tuple[str, ...] = tuple(FIELD_BY_RESOURCE)

DISPLAY_UNITS: dict[str, tuple[str, int]] = {
    "cpu": ("cores", 1000),
    "gpu": ("GPUs", GPU_MILLIS),
    "memory": ("GiB", 2**30),
    "bandwidth": ("GB/s", 10**9),
    "disk": ("GiB", 2**30),
}
"""The unit people read and prices are quoted in, and how many integer units make one. Extras: ("units", 1)."""


def is_resource_name(name: str) -> bool:
    """Whether a resource may be called this: one of the standard ones, or an extra."""
    return name in FIELD_BY_RESOURCE or bool(_EXTRA_NAME.match(name))


def display_unit(resource: str) -> tuple[str, int]:
    """(name, integer units per display unit) of a resource."""
    return DISPLAY_UNITS.get(resource, ("units", 1))


NOTHING = Resources()


def total(amounts: Iterator[Resources] | list[Resources] | tuple[Resources, ...]) -> Resources:
    """The sum of many vectors."""
    result = NOTHING
    for amount in amounts:
        result = result + amount
    return result


def resource_names(amounts: Iterator[Resources] | list[Resources] | tuple[Resources, ...]) -> tuple[str, ...]:
    """Every resource mentioned: the standard ones in canonical order, then extras by name."""
    mentioned = {name for amount in amounts for name, _ in amount.items()}
    standard = tuple(name for name in STANDARD_RESOURCES if name in mentioned)
    return standard + tuple(sorted(mentioned - set(standard)))


__all__ = [
    "DISPLAY_UNITS",
    "FIELD_BY_RESOURCE",
    "GPU_MILLIS",
    "MAX_AMOUNT",
    "NOTHING",
    "STANDARD_RESOURCES",
    "Resources",
    "display_unit",
    "is_resource_name",
    "resource_names",
    "total",
]
