"""What the documentation shows of the command line is what it prints; with ALLOCATOR_REWRITE set, it is made anew."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from tests.cli.conftest import Run


class Transcript:
    """Runs commands, and compares what they print with what a page shows. Times differ between runs."""

    def __init__(self, run: Run, page: Path) -> None:
        self._run = run
        self._page = page
        self._blocks: list[list[str]] = [[]]

    def __call__(self, *args: str) -> str:
        ran = self._run(*args)
        assert ran.code == 0, ran
        self._blocks[-1].append(f"$ allocator {shlex.join(args)}\n{ran.out}")
        return ran.out

    def pause(self) -> None:
        """Text stands between."""
        self._blocks.append([])

    def check(self, name: str) -> None:
        """With ALLOCATOR_REWRITE set, the documentation is brought up to date instead."""
        text = self._page.read_text(encoding="utf-8")
        before, mark, after = text.partition(f"<!-- transcript: {name} -->\n")
        if "ALLOCATOR_REWRITE" in os.environ:
            for block in self._blocks:
                passed, _, after = after.partition("```\n")
                before, mark, after = before + mark + passed, f"```\n{''.join(block)}```\n", after.partition("```\n")[2]
            self._page.write_text(before + mark + after, encoding="utf-8")
            return
        shown = re.findall(r"```\n(.*?)```", after, flags=re.DOTALL)[: len(self._blocks)]
        actual = ["".join(block) for block in self._blocks]
        assert [timeless(block) for block in shown] == [timeless(block) for block in actual], "\n".join(
            f"```\n{block}```\n" for block in actual
        )


def timeless(text: str) -> list[str]:
    """Lines of words, without how long anything takes."""
    return [" ".join(re.sub(r"\b\d+[smh](\d+[sm])?\b", "T", line).split()) for line in text.splitlines()]
