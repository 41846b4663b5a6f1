"""Every scenario has a summary that is known, and leaves the same bytes on one core or two, in any order of sets.

Also on processors of different kinds: without ANY_PROCESSOR, which keeps to code that every x86-64 processor with AVX2
has, numpy and OpenBLAS add up in an order that depends on how wide a processor's registers are, and a last bit may
decide a tie.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulations.scenario import SCENARIOS

GOLDEN = Path(__file__).parent / "fixtures" / "golden"
OPTIONS = {
    "small": (),
    # Its classes, queues and flavors on fewer nodes: large enough for prices to be discovered in compiled passes.
    "large": ("--nodes=40", "--jobs-at-start=1200", "--arrivals-per-hour=600", "--horizon=0.4"),
}
"""Of each scenario."""
ANY_PROCESSOR = {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"}
"""As the README of simulations tells who compares replays of different machines."""
THREADS = ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "POLARS_MAX_THREADS")


def replayed(scenario: str, out: Path, cores: int) -> dict[str, bytes]:
    """Files by name, of a replay in a process that has so many cores. Each has another seed for hashes."""
    command = [sys.executable, "-m", "simulations", "replay", "--trace=synthetic", f"--scenario={scenario}", "--seed=1"]
    command += [*OPTIONS[scenario], f"--out={out}", "--no-timings"]
    mine = sorted(os.sched_getaffinity(0))[:cores]
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        env={**os.environ, **ANY_PROCESSOR, **dict.fromkeys(THREADS, str(cores)), "PYTHONHASHSEED": str(cores)},
        preexec_fn=lambda: os.sched_setaffinity(0, mine),
    )
    return {file.name: file.read_bytes() for file in sorted(out.iterdir())}


def test_every_scenario_has_a_golden_summary() -> None:
    scenarios = {file.stem for file in SCENARIOS.glob("*.toml")}
    assert scenarios == set(OPTIONS) == {file.stem for file in GOLDEN.glob("*.json")}


@pytest.mark.parametrize("scenario", list(OPTIONS))
def test_it_is_the_golden_one_and_the_same_bytes_on_one_core_and_on_two(scenario: str, tmp_path: Path) -> None:
    """To accept a change on purpose: `python -m tests.simulations.test_golden`, and read the difference."""
    one, two = (replayed(scenario, tmp_path / str(cores), cores) for cores in (1, 2))
    assert {name for name in one if one[name] != two.get(name)} == set()
    assert len(one) >= 5
    golden = json.loads((GOLDEN / f"{scenario}.json").read_text())
    differences = list(_differences(golden, without_versions(one), ""))
    assert not differences, "\n".join(differences)


def without_versions(files: dict[str, bytes]) -> dict[str, Any]:
    return {key: value for key, value in json.loads(files["summary.json"]).items() if key != "versions"}


def _differences(expected: Any, found: Any, path: str) -> Iterator[str]:
    """Counts and words must be equal, floats within 1e-6; a gap must only be as small as the policy asks."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            yield from _differences(expected.get(key), found.get(key), f"{path}.{key}")
    elif path.startswith(".rounds.gap"):
        if not found <= 1e-4:
            yield f"{path}: {found} is not certified"
    elif isinstance(expected, float) and isinstance(found, float):
        if not math.isclose(expected, found, rel_tol=1e-6, abs_tol=1e-9):
            yield f"{path}: expected {expected!r}, found {found!r}"
    elif expected != found:
        yield f"{path}: expected {expected!r}, found {found!r}"


if __name__ == "__main__":
    import tempfile

    for name in OPTIONS:
        with tempfile.TemporaryDirectory() as folder:
            summary = without_versions(replayed(name, Path(folder) / "out", 1))
        (GOLDEN / f"{name}.json").write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
