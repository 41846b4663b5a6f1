"""The command line of modules that write one file: without arguments make it anew, with --check only compare it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def run(module: str, file: Path, content: str, arguments: Sequence[str]) -> int:
    """Exit code 1 if --check finds `file` different from `content`, 2 for unknown arguments."""
    if list(arguments) == ["--check"]:
        if file.exists() and file.read_text(encoding="utf-8") == content:
            return 0
        sys.stderr.write(f"{file.name} is out of date; run: python -m {module}\n")
        return 1
    if arguments:
        sys.stderr.write(f"usage: python -m {module} [--check]\n")
        return 2
    file.write_text(content, encoding="utf-8")
    return 0
