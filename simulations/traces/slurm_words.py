"""How Slurm writes times, durations, amounts, trackable resources and lists of hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product

from simulations.traces.rows import MOST_NODES

NO_TIME = frozenset(("", "Unknown", "None", "N/A", "NONE"))
NO_LIMIT = frozenset(("", "UNLIMITED", "Partition_Limit", "INFINITE", "NOT_SET", "INVALID"))
MIB = 2**20
_MOST_BRACKETS = 8
_UNITS = {"K": 2**10, "M": MIB, "G": 2**30, "T": 2**40, "P": 2**50}
_DURATION = re.compile(r"(?:(?:([0-9]{1,6})-)?([0-9]{1,7}):)?([0-9]{1,7}):([0-9]{1,2}(?:\.[0-9]*)?)\Z")
_HOURS = re.compile(r"([0-9]{1,6})-([0-9]{1,2})(?::([0-9]{1,2}))?\Z")
_SIZE = re.compile(r"([0-9]{1,16}(?:\.[0-9]*)?)([KMGTP]?)B?([cn]?)\Z", re.IGNORECASE)
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?\Z")


def moment(text: str) -> float:
    """Seconds since the Unix epoch, of 2024-01-05T10:00:00 (taken as UTC) or of a number of seconds.

    Raises ValueError that says what would be right.
    """
    if text.isdecimal() and len(text) <= 12:
        return float(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a time such as 2024-01-05T10:00:00, or Unknown") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def duration(text: str) -> float:
    """Seconds of 1-02:03:04, 02:03:04, 03:04 or, of time limits, 1-02. Raises ValueError."""
    found = _DURATION.match(text)
    if found:
        days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
        return days * 86400 + hours * 3600 + minutes * 60 + seconds
    found = _HOURS.match(text)
    if found:
        days, hours, minutes = (float(part or 0) for part in found.groups())
        return days * 86400 + hours * 3600 + minutes * 60
    raise ValueError("must be a duration such as 1-02:03:04 or 02:03:04")


def memory(text: str, cpus: int, nodes: int) -> int:
    """Bytes for the whole job, of 16G, 4000M, 4000Mc (for each CPU) or 4Gn (for each node); a bare number is MiB.

    Raises ValueError.
    """
    found = _SIZE.match(text)
    if found is None:
        raise ValueError("must be an amount such as 16G, 4000M, 4000Mc (a CPU) or 4Gn (a node)")
    amount = float(found[1]) * _UNITS[found[2].upper() or "M"]
    times = {"c": cpus, "n": nodes, "": 1}[found[3].lower()]
    return round(amount * times)


def tres(text: str) -> dict[str, str]:
    """By name, such as cpu, mem, node and gres/gpu:a100, what trackable resources say. Raises ValueError."""
    found = {}
    for part in text.split(","):
        name, equals, amount = part.partition("=")
        if not equals:
            raise ValueError("must be pairs such as cpu=4,mem=16G,node=1,gres/gpu:a100=2")
        found[name] = amount
    return found


def gpus(text: str) -> dict[str, int]:
    """By model ("" where it is not said), the GPUs of gpu:a100:4(S:0-1),gpu:2; other resources are passed over.

    Raises ValueError.
    """
    found: dict[str, int] = {}
    for part in _parts(text, "(", ")"):
        if part.split(":")[0] != "gpu":
            continue
        pieces = [piece for piece in re.sub(r"\(.*\)", "", part).split(":")[1:] if piece != "no_consume"]
        number = pieces.pop() if pieces and pieces[-1].isdecimal() else "1"
        if len(pieces) > 1 or len(number) > 6:
            raise ValueError("must be such as gpu:a100:4 or gpu:2")
        model = pieces[0].lower() if pieces else ""
        found[model] = found.get(model, 0) + int(number)
    return found


def hosts(text: str) -> list[str]:
    """The names in gpu[01-04,7],login1 or r[1-2]n[1-4]. Raises ValueError, also for more than can be nodes."""
    names: list[str] = []
    for part in _parts(text.strip(), "[", "]"):
        if part.count("[") > _MOST_BRACKETS:
            raise ValueError(f"must be hosts such as node[01-16], with at most {_MOST_BRACKETS} brackets in a name")
        pieces = [piece for piece in re.split(r"(\[[^\]]*\])", part) if piece]
        choices = [list(_numbers(piece[1:-1])) if piece[0] == "[" else [piece] for piece in pieces]
        count = len(names)
        for choice in choices:
            count = max(1, count) * len(choice)
        if count > MOST_NODES or not pieces:
            raise ValueError(f"must be hosts such as node[01-16], at most {MOST_NODES:,}")
        names += ["".join(chosen) for chosen in product(*choices)]
    return names


def _parts(text: str, opening: str, closing: str) -> Iterator[str]:
    """What stands between commas, but for those inside brackets."""
    part: list[str] = []
    depth = 0
    for piece in text.split(","):
        part.append(piece)
        depth += piece.count(opening) - piece.count(closing)
        if depth <= 0:
            yield ",".join(part)
            part, depth = [], 0
    if part:
        yield ",".join(part)


def _numbers(text: str) -> Iterator[str]:
    """01-03,7 is 01, 02, 03, 7."""
    for part in text.split(","):
        found = _RANGE.match(part)
        if found is None:
            raise ValueError(f"must hold numbers and ranges between brackets, such as [01-16,20]; {part!r} is neither")
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < first + MOST_NODES:
            raise ValueError(f"must hold ranges that rise, of at most {MOST_NODES:,}; got {part!r}")
        width = len(found[1])
        yield from (f"{number:0{width}}" for number in range(first, last + 1))
