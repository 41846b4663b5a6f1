"""What the README shows works as it is written there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from allocator.policyfile import read

README = Path(__file__).parents[1] / "README.md"


def block_with(text: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (found,) = [block for block in blocks if text in block]
    return str(found)


def test_the_library_example_runs_and_is_optimal(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(block_with("Problem.from_arrays"), names)
    solution = names["solution"]
    assert solution.gap <= 1e-6  # type: ignore[attr-defined] # a Solution
    shares = np.asarray(solution.shares)  # type: ignore[attr-defined]
    assert np.all(shares.sum(axis=1) <= 1)
    assert shares[:, 0].sum() == pytest.approx(1.0, abs=1e-5)  # the fast flavor is worth something: it is used up
    assert capsys.readouterr().out


def test_the_client_example_is_real_code() -> None:
    compile(block_with("Client("), "README.md", "exec")


def test_the_policy_file_is_right() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", README.read_text(), flags=re.DOTALL)
    reading = read(text)
    assert (reading.mistakes, reading.warnings) == ((), ())
    assert reading.document is not None
    assert [queue.name for queue in reading.document.queues] == ["research", "batch"]


def test_every_linked_file_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
