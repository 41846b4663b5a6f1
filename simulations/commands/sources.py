"""`simulations sources`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from simulations.commands.options import AsJson
from simulations.commands.page import page
from simulations.traces.errors import TraceError
from simulations.traces.sources import Check, Verdict, check, sources


def sources_command(
    folder: Annotated[
        Path | None, typer.Option("--check", metavar="DIR", help="Compare the files below DIR with the checksums.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List public traces: where each comes from, under which licence, with which checksums, and how it is replayed."""
    if folder is not None:
        _check(folder, as_json=as_json)
    elif as_json:
        sys.stdout.write(json.dumps([asdict(source) for source in sources()], indent=2, ensure_ascii=False) + "\n")
    else:
        _list(page())


def _list(console: Console) -> None:
    for source in sources():
        console.print(f"[bold]{source.folder}[/]: {escape(source.about)}")
        for word, value in (
            ("from", source.origin),
            ("licence", source.licence),
            ("cite", source.cite),
            ("note", source.note),
            ("replay", source.command("DIR")),
        ):
            console.print(f"  {word:8}{escape(value)}")
        for file in source.files:
            console.print(f"  [dim]{file.sha256}  {file.name}[/]")
        console.print()
    console.print("Compare what you have with these checksums: python -m simulations sources --check DIR")


def _check(folder: Path, *, as_json: bool) -> None:
    """Raises TraceError for files that are not what they are called, and where there is none of any source."""
    found = check(folder)
    counts = Counter(each.verdict for each in found)
    if as_json:
        sys.stdout.write(json.dumps([_said(each) for each in found], indent=2) + "\n")
    else:
        console = page()
        for each in found:
            colour = {Verdict.SAME: "green", Verdict.MISSING: "dim"}.get(each.verdict, "red")
            name = each.file.name if each.found is None else str(each.found)
            console.print(f"[{colour}]{each.verdict.value}[/]: {escape(name)} ({each.source.folder})")
        console.print(
            f"{counts[Verdict.SAME]} of {len(found)} files are as published, {counts[Verdict.MISSING]} missing"
        )
    wrong = next((each for each in found if each.verdict is Verdict.OTHER and each.found is not None), None)
    if wrong is not None and wrong.found is not None:
        raise TraceError(wrong.found, f"has another content than published (sha256 {wrong.file.sha256}): get it again")
    if counts[Verdict.MISSING] == len(found):
        raise TraceError(folder, "holds no file of any source; see `simulations sources`")


def _said(each: Check) -> dict[str, str | None]:
    return {
        "source": each.source.folder,
        "file": each.file.name,
        "found": None if each.found is None else str(each.found),
        "verdict": each.verdict.name.lower(),
    }
