"""What every message is made of: times, enumerations, labels, and the bounds on how many of anything there may be."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Generic, Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from allocator.domain.cluster import Labels
from allocator.domain.errors import InvalidInput, Violation

MAX_ITEMS = 10_000
"""Items of one batch request."""
MAX_CONFIGURATIONS = 256
MAX_EXTRAS = 64
MAX_LABELS = 64
MAX_TEXT = 1024
"""Characters of a message that people write."""
MAX_REQUEST_ID = 128

MAX_INT64 = 2**63 - 1
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_NANOS = 1_000_000_000

Member = TypeVar("Member", bound=Enum)
Number = TypeVar("Number", bound=int)
"""What the generated code types a protobuf enumeration's numbers as."""
Number_co = TypeVar("Number_co", bound=int, covariant=True)


class Numbers(Protocol[Number_co]):
    """A generated enumeration."""

    def Value(self, name: str | bytes) -> Number_co:  # noqa: N802 - protobuf's name
        """The number of a member."""
        ...


class Enumeration(Generic[Member, Number]):
    """The members of a domain enumeration and the numbers that a protobuf enumeration has for them.

    They belong together by name: JobState.PENDING is JOB_STATE_PENDING. The number 0 is UNSPECIFIED and no member.
    """

    def __init__(self, members: type[Member], numbers: Numbers[Number], prefix: str) -> None:
        self._numbers = {member: numbers.Value(f"{prefix}_{member.name}") for member in members}
        self._members = {number: member for member, number in self._numbers.items()}
        self._names = ", ".join(f"{prefix}_{member.name}" for member in members)

    def __contains__(self, number: int) -> bool:
        """Whether it is a member's number: not of UNSPECIFIED, nor of another version of the API."""
        return number in self._members

    def number(self, member: Member) -> Number:
        return self._numbers[member]

    def member(self, number: Number, field: str) -> Member:
        """Raises InvalidInput for UNSPECIFIED and for numbers of another version of the API."""
        member = self._members.get(number)
        if member is None:
            raise InvalidInput.of(field, f"must be one of {self._names}; got {number or 'nothing'}")
        return member


def time_to_proto(seconds: float) -> Timestamp:
    """From seconds since the Unix epoch; exact to the nanosecond, and exact altogether for times of this century."""
    whole = int(seconds // 1)
    nanos = round((seconds - whole) * _NANOS)
    return Timestamp(seconds=whole + nanos // _NANOS, nanos=nanos % _NANOS)


def time_from_proto(message: Timestamp, field: str) -> float:
    """Seconds since the Unix epoch. Raises InvalidInput outside the years 1 to 9999."""
    if not (_FIRST_SECOND <= message.seconds <= _LAST_SECOND and 0 <= message.nanos < _NANOS):
        raise InvalidInput.of(
            field,
            "must lie in the years 1 to 9999, with nanos from 0 to 999999999; "
            f"got {message.seconds} s {message.nanos} ns",
        )
    return message.seconds + message.nanos / _NANOS


def labels_from_proto(labels: Mapping[str, str], field: str = "labels", most: int = MAX_LABELS) -> Labels:
    """Sorted by key."""
    if len(labels) > most:
        raise InvalidInput.of(field, f"must be at most {most}, got {len(labels)}")
    return tuple(sorted(labels.items()))


def clamped(amount: int) -> int:
    """Sums over many jobs may exceed what a message holds; nobody needs to know by how much."""
    return min(amount, MAX_INT64)


def within(error: InvalidInput, where: str) -> InvalidInput:
    """The same error seen from an enclosing message: `where` goes before every field path."""
    return InvalidInput(*(violation.under(where) for violation in error.violations))


def valid(where: str, violations: tuple[Violation, ...]) -> None:
    """Raises InvalidInput, its field paths beginning with `where` (empty: as they are), if there is any violation."""
    if violations:
        raise within(InvalidInput(*violations), where) if where else InvalidInput(*violations)


def bounded(field: str, count: int) -> None:
    """Raises InvalidInput if a batch has more items than one request may have."""
    if count > MAX_ITEMS:
        raise InvalidInput.of(field, f"must hold at most {MAX_ITEMS} items, got {count}; send several requests")
