"""Which format a file or folder has, from what is in it and not from what it is called."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from simulations.traces import dlrm, gavel, google, openb, own, philly, slurm, swf
from simulations.traces.errors import TraceError
from simulations.traces.own_tables import PARQUET_MAGIC, parquet_columns
from simulations.traces.rows import require_folder
from simulations.traces.text import head

CAPTURED = "allocator capture "
"""How a capture of a daemon's rounds begins, unpacked."""
MOST_FILES = 1000
"""Of a folder that are looked into."""
_HEADERS: dict[str, tuple[str, ...]] = {
    "dlrm": dlrm.INSTANCE_COLUMNS,
    "gavel": gavel.JOB_COLUMNS,
    "openb": openb.POD_COLUMNS,
    "own": own.needed("jobs"),
    "philly": philly.JOB_COLUMNS,
}
_FAMILIAR = 0.6
"""A header with this part of a format's columns is meant to be one of it, if a wrong one."""


def format_of(path: Path) -> str:
    """The name of the format. Raises TraceError if there is none, or in a folder several."""
    if path.is_file():
        found = kind_of(path)
        if found is None and not path.stat().st_size:
            raise TraceError(path, "is empty; it must hold a list of jobs")
        if found is None:
            raise TraceError(path, f"is no list of jobs that can be recognised; {_WHAT}")
        return found
    if not path.exists():
        raise TraceError(path, "does not exist; name the file or the folder of a trace")
    require_folder(path, ("a trace",))
    files = sorted(file for file in islice(path.iterdir(), MOST_FILES) if file.is_file())
    kinds: dict[str, Path] = {}
    for file in files:
        kind = kind_of(file)
        if kind is not None:
            kinds.setdefault(kind, file)
    if len(kinds) == 1:
        return next(iter(kinds))
    if not kinds:
        empty = [file.name for file in files if not file.stat().st_size]
        found = f" ({' and '.join(empty)} is empty)" if empty else ""
        raise TraceError(path, f"holds no list of jobs that can be recognised{found}; {_WHAT}")
    named = ", ".join(f"{file.name} ({kind})" for kind, file in sorted(kinds.items()))
    raise TraceError(path, f"holds traces of several formats, {named}; name one file, or say --trace")


_WHAT = "say --trace, or see `simulations sources` and the formats in the README"


def kind_of(file: Path) -> str | None:
    """The format whose list of jobs this is; None for anything else."""
    text = head(file)
    if text.startswith(CAPTURED):
        return "capture"
    if text.startswith(PARQUET_MAGIC):
        return "own" if set(own.needed("jobs")) <= set(parquet_columns(file)) else None
    if text.lstrip().startswith("{"):
        return "batsim" if '"jobs"' in text and ('"subtime"' in text or '"nb_res"' in text) else None
    if slurm.looks_like_jobs(text):
        return "slurm"
    lines = text.splitlines()
    return _by_header(lines) or _without_header(lines)


def _by_header(lines: list[str]) -> str | None:
    names = {name.strip() for name in next(csv.reader(lines[:1]), [])}
    parts = {kind: len(names & set(columns)) / len(columns) for kind, columns in _HEADERS.items()}
    best = max(parts, key=lambda kind: parts[kind])
    return best if parts[best] >= _FAMILIAR else None


def _without_header(lines: Iterable[str]) -> str | None:
    said = [line for line in lines if line.strip()]
    first = next((line for line in said if not line.startswith(";")), "")
    fields = first.split()
    if len(fields) == len(swf.COLUMNS) and all(_is_number(field) for field in fields):
        return "swf"
    if said and said[0].startswith(";") and any("MaxProcs" in line or "MaxNodes" in line for line in said):
        return "swf"
    parts = first.split(",")
    if len(parts) == len(google.EVENT_COLUMNS) and parts[0].isdecimal() and parts[5] in google.EVENTS:
        return "google"
    return None


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdecimal()
