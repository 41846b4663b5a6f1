"""What flags of `allocator submit` say, as a job file would say it."""

from __future__ import annotations

from allocator.cli.promise_fields import UNKNOWN
from allocator.domain.errors import InvalidInput


def pairs_of(flag: str, given: list[str] | None) -> dict[str, str] | None:
    """KEY=VALUE texts as a mapping; None when there are none."""
    if not given:
        return None
    pairs: dict[str, str] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise InvalidInput.of(flag, f"must be written KEY=VALUE, got {text!r}")
        if key in pairs:
            raise InvalidInput.of(flag, f"{key!r} is given twice: each key once")
        pairs[key] = value
    return pairs


def replicas_of(exactly: int | None, least: int | None, most: int | None) -> int | dict[str, int] | None:
    """So many, or between how many."""
    if least is None and most is None:
        return exactly
    if exactly is not None:
        raise InvalidInput.of("--replicas", "cannot be combined with --min-replicas and --max-replicas")
    if least is None or most is None:
        missing = "--min-replicas" if least is None else "--max-replicas"
        raise InvalidInput.of(missing, "must be given: the gang has from --min-replicas to --max-replicas replicas")
    return {"min": least, "max": most}


def flavors_of(given: list[str] | None) -> dict[str, float | None] | None:
    """NAME=THROUGHPUT texts as a mapping, None for a throughput that is not known; None when there are none."""
    if not given:
        return None
    flavors: dict[str, float | None] = {}
    for text in given:
        name, separator, throughput = text.partition("=")
        if name in flavors:
            raise InvalidInput.of("--flavor", f"{name!r} is given twice: each flavor once")
        try:
            flavors[name] = float(throughput) if separator and throughput != UNKNOWN else None
        except ValueError:
            raise InvalidInput.of(
                "--flavor", f"must be written NAME or NAME=THROUGHPUT, such as v100=2.0, or unknown; got {text!r}"
            ) from None
    return flavors
