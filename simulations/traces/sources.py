"""Where public traces come from, under which licence, with which checksums, and whether files are these."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from simulations.traces.errors import TraceError

_FILE = Path(__file__).parent / "sources.toml"
MOST_FILES = 100_000
"""Below a folder that is checked."""


@dataclass(frozen=True, slots=True)
class File:
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """`folder` is what the examples call the place of the files; `file`: which of several logs to name."""

    folder: str
    format: str
    about: str
    origin: str
    licence: str
    cite: str
    note: str
    files: tuple[File, ...]
    file: str = ""

    def command(self, root: str) -> str:
        """How to replay it from below `root`."""
        path = "/".join(part for part in (root, self.folder, self.file) if part)
        return f"python -m simulations replay --trace {self.format} --path {path} --out OUT"


def sources() -> tuple[Source, ...]:
    content = tomllib.loads(_FILE.read_text(encoding="utf-8"))["sources"]
    return tuple(Source(**{**entry, "files": tuple(File(**file) for file in entry["files"])}) for entry in content)


class Verdict(Enum):
    SAME = "as published"
    OTHER = "has another content"
    UNPACKED = "not the published file: it is packed or unpacked"
    MISSING = "not there"


@dataclass(frozen=True, slots=True)
class Check:
    """`found` is None for a file that is not there."""

    source: Source
    file: File
    found: Path | None
    verdict: Verdict


def check(root: Path) -> tuple[Check, ...]:
    """What is below `root` of every source, however its folders are called. Raises TraceError for no folder."""
    if not root.is_dir():
        raise TraceError(root, "is not a folder; give the one that holds the traces")
    places: dict[str, list[Path]] = {}
    for index, file in enumerate(_files(root)):
        if index >= MOST_FILES:
            raise TraceError(root, f"holds more than {MOST_FILES:,} files; give the folder of the traces alone")
        places.setdefault(file.name, []).append(file)
    return tuple(_checked(source, file, places) for source in sources() for file in source.files)


def _checked(source: Source, file: File, places: dict[str, list[Path]]) -> Check:
    candidates = places.get(file.name, [])
    for found in candidates:
        if found.stat().st_size == file.bytes and _sha256(found) == file.sha256:
            return Check(source, file, found, Verdict.SAME)
    if candidates:
        return Check(source, file, candidates[0], Verdict.OTHER)
    other = file.name.removesuffix(".gz") if file.name.endswith(".gz") else f"{file.name}.gz"
    if other in places:
        return Check(source, file, places[other][0], Verdict.UNPACKED)
    return Check(source, file, None, Verdict.MISSING)


def _files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        yield from (Path(folder) / name for name in sorted(names))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
