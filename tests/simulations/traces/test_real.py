"""The real traces, where they are to be had: read whole, in seconds and little memory, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simulations.traces.sources import Verdict, check, sources

TRACES = os.environ.get("ALLOCATOR_TRACES")
pytestmark = pytest.mark.skipif(
    TRACES is None,
    reason="ALLOCATOR_TRACES is not set: name the folder that holds the traces, such as google-2011 and swf",
)
ROOT = Path(TRACES or ".")
PROGRAM = """
import json, resource, sys
from pathlib import Path
from simulations.contents import contents
from simulations.traces.formats import AS_IT_IS, FORMATS
name, path = sys.argv[1:]
chosen = FORMATS[name]
workload = chosen.workload(Path(path), chosen.default_window, 30.0, AS_IT_IS)
workload.require_valid()
used = resource.getrusage(resource.RUSAGE_SELF)
found = contents(workload) | {"cpu_s": used.ru_utime + used.ru_stime, "peak_kib": used.ru_maxrss}
json.dump(found, sys.stdout)
"""


def found(name: str, path: str) -> dict[str, Any]:
    """What is in a trace, and what reading it took: CPU seconds, and KiB of memory at most."""
    command = [sys.executable, "-c", PROGRAM, name, str(ROOT / path)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=250).stdout)
    assert isinstance(answer, dict)
    assert answer["cpu_s"] < 60
    assert answer["peak_kib"] < 1.5 * 2**20
    return answer


def test_ricc() -> None:
    """447,794 jobs, as its header says; ten have no run time."""
    trace = found("swf", "swf/RICC-2010-2.swf.gz")
    assert (trace["jobs"], trace["dropped"]) == (447_784, {"no_run_time": 10})
    assert (trace["nodes"], trace["capacity"]) == (1024, {"cpu cores": 8192.0})
    assert len(trace["jobs_by_queue"]) == 176
    assert trace["run_s"]["p50"] == 1218


def test_hpc2n() -> None:
    trace = found("swf", "swf/hpc2n-2002-first57days.swf.gz")
    assert (trace["jobs"], trace["dropped"]) == (3145, {"no_run_time": 25})
    assert trace["nodes_by_flavor"] == {"seth": 120}


def test_google() -> None:
    """The first five shards: 359,339 tasks submitted with a request, 291 without."""
    trace = found("google", "google-2011")
    assert trace["nodes"] == 12_580
    assert trace["jobs"] == 327_382
    assert trace["dropped"] == {"asks_for_nothing": 85, "never_scheduled": 10_552, "request_unknown": 291}
    assert trace["capacity"]["cpu cores"] == pytest.approx(665_750, abs=1)


def test_gavel_and_batsim() -> None:
    gavel = found("gavel", "gavel-2020")
    assert (gavel["jobs"], gavel["dropped"], gavel["nodes"]) == (6000, {}, 108)
    batsim = found("batsim", "batsim-easy-reference")
    assert (batsim["jobs"], batsim["dropped"], batsim["nodes"]) == (801, {}, 32)


def test_every_file_is_as_published() -> None:
    verdicts = {each.file.name: each.verdict for each in check(ROOT)}
    assert set(verdicts.values()) <= {Verdict.SAME, Verdict.MISSING}
    assert Verdict.SAME in verdicts.values()
    assert len(verdicts) == sum(len(source.files) for source in sources())
