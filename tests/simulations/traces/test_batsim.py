"""Batsim's workloads are read as documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulations.traces.errors import TraceError
from simulations.traces.window import Window
from tests.simulations.traces.places import by_name, changed, copied, read, shapes


def test_a_workload_is_read_as_documented() -> None:
    workload = read("batsim")
    jobs = by_name(workload)
    assert workload.dropped == {"fits_no_node": 1, "no_run_time": 1, "profile_not_delay": 1}
    assert list(jobs) == ["0", "7", "w0!2"], "in order of submission"
    assert [node.name for node in workload.nodes] == [f"machine-{index}" for index in range(4)]
    assert shapes(jobs["0"]) == {"machine": (4, 1)}
    assert (jobs["0"].time, jobs["0"].duration) == (0.5, 50.0), "stopped at its walltime"
    assert (jobs["7"].duration, jobs["7"].spec.expected_duration_seconds) == (20.25, 100.0)
    assert jobs["w0!2"].spec.expected_duration_seconds is None
    assert not any(arrival.spec.preemptible for arrival in workload.arrivals)


def test_a_window_takes_what_arrives_in_it() -> None:
    assert list(by_name(read("batsim", window=Window(10.0, 30.0)))) == ["7"]


REPLACED = [
    # what is replaced, by what, line, path, words
    ('"res": 2', '"res": 0', 4, "jobs[0].res", "must be between 1 and"),
    ('"res": 2', '"res": 1.5', 4, "jobs[0].res", "must be a whole number, got 1.5"),
    ('"res": 2', '"res": "two"', 4, "jobs[0].res", 'must be a number, got "two"'),
    ('"res": 2', '"res": true', 4, "jobs[0].res", "must be a number, got true"),
    ('"res": 2, ', "", 4, "jobs[0]", "has no 'res'"),
    ('"subtime": 0.5', '"subtime": -1', 5, "jobs[1].subtime", "must be between 0 and"),
    ('"subtime": 0.5', '"subtime": NaN', 5, "jobs[1].subtime", "must be a number, got NaN"),
    ('"walltime": 50', '"walltime": 0', 5, "jobs[1].walltime", "must be between"),
    ('"id": 0', '"id": 7', 5, "jobs[1].id", "'7' is the id of jobs[0] already; each id once"),
    ('"id": 0', '"id": null', 5, "jobs[1].id", "must be text in quotes, got null"),
    ('"profile": "long"', '"profile": "longer"', 5, "jobs[1].profile", "names 'longer', which is none of the profiles"),
    ('"id": 0', '"id": 0, "id": 1', 5, "id", "stands twice in one object"),
    ('"delay": 90', '"delay": -90', 14, "profiles.long.delay", "must be between 0 and"),
    ('"type": "delay", "delay": 90', '"delay": 90', 14, "profiles.long", "has no 'type'"),
    ('"nb_res": 4', '"nb_res": 0', 11, "nb_res", "must be between 1 and 200000"),
    ('"nb_res": 4', '"nb_res": 10000000000', 11, "nb_res", "must be between 1 and 200000"),
    ('"nb_res": 4,', "", 1, "", "has no 'nb_res'"),
    ('"nb_res": 4,', '"nb_res": 4', 12, None, "is not JSON: Expecting ',' delimiter"),
]


@pytest.mark.parametrize(("old", "new", "line", "place", "words"), REPLACED)
def test_a_bad_value_is_named(old: str, new: str, line: int, place: str | None, words: str, tmp_path: Path) -> None:
    file = copied("batsim", tmp_path) / "small.json"
    text = file.read_text()
    changed(file, old, new)
    assert file.read_text() != text
    with pytest.raises(TraceError) as caught:
        read("batsim", file)
    assert (caught.value.file, caught.value.line, caught.value.column) == (file, line, place)
    assert words in caught.value.what


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "must be an object {...}, got []"),
        ("{", "is not JSON"),
        ("[" * 100_000, "nests values too deeply"),
        ('{"nb_res": ' + "9" * 5000 + "}", "holds a number of thousands of digits"),
        ('{"nb_res": ' + "9" * 400 + "}", "must be between 1 and 200000, got inf"),
        ('{"nb_res": 4, "profiles": {}, "jobs": []}', "must hold 1 to 5,000,000 jobs, got 0"),
        ('{"nb_res": 4, "profiles": {}, "jobs": {}}', "must be a list [...], got {}"),
        ('{"nb_res": 4, "profiles": [], "jobs": []}', "must be an object {...}, got []"),
    ],
)
def test_another_kind_of_document_is_refused(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "small.json"
    file.write_text(content)
    with pytest.raises(TraceError) as caught:
        read("batsim", file)
    assert words in str(caught.value)
    assert caught.value.line in (1, None)


def test_a_folder_of_several_needs_one_named(tmp_path: Path) -> None:
    folder = copied("batsim", tmp_path)
    (folder / "other.json").write_text("{}")
    with pytest.raises(TraceError, match="holds several workloads; name one of"):
        read("batsim", folder)
