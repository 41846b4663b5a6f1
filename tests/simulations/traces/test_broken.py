"""Broken files of every format end the reading, in bounded memory, with the place and what would be right."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from simulations.traces import text
from simulations.traces.errors import TraceError
from simulations.traces.formats import AS_IT_IS, FORMATS, Choices
from simulations.traces.rows import read_rows
from tests.simulations.traces.places import copied, read

FILES = [
    ("batsim", "small.json"),
    ("dlrm", "disaggregated_DLRM_trace.csv"),
    ("gavel", "gavel_jobs.csv"),
    ("gavel", "gavel_isolated_throughputs.json"),
    ("google", "machines.csv"),
    ("google", "task_events-part-00001-of-00002.csv"),
    ("openb", "openb_node_list_all_node.csv"),
    ("openb", "openb_pod_list_default.csv"),
    ("own", "jobs.csv"),
    ("own", "nodes.csv"),
    ("own", "queues.csv"),
    ("own", "shapes.csv"),
    ("philly", "cluster_machine_list.csv"),
    ("philly", "philly_jobs.csv"),
    ("slurm", "nodes.txt"),
    ("slurm", "sacct.txt"),
    ("swf", "small.swf"),
    ("swf", "small.swf.machines"),
]
"""Every file of every format."""


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str, str], Path]:
    """A file of a copy of a format's fixture."""

    def of(name: str, file: str) -> Path:
        folder = copied(name, tmp_path)
        (tmp_path / "swf" / "small.swf.machines").parent.mkdir(exist_ok=True)
        (tmp_path / "swf" / "small.swf.machines").write_text("0\tseth\t8\t8\t1\t1048576\n")
        assert (folder / file).is_file()
        return folder / file

    return of


def test_every_format_is_here() -> None:
    assert {name for name, _ in FILES} == set(FORMATS)


def packed_and_cut(file: Path) -> None:
    packed = gzip.compress(file.read_bytes() + b"".join(b"%d\n" % (n * 7919) for n in range(500)))
    file.write_bytes(packed[: len(packed) - 200])


def packed_and_damaged(file: Path) -> None:
    packed = bytearray(gzip.compress(file.read_bytes()))
    packed[-5] ^= 0xFF
    file.write_bytes(bytes(packed))


def a_line_of_gigabytes(file: Path) -> None:
    """4 GiB of zeros in one line, as 4 MB: the same packed piece again and again, which gzip allows."""
    file.write_bytes(gzip.compress(b"0" * (1 << 24)) * 256)


SPOILED: list[tuple[str, Callable[[Path], object], str]] = [
    ("cut short", packed_and_cut, "ends in the middle of its gzip stream: it was cut short, get it again"),
    ("damaged", packed_and_damaged, "is not a sound gzip file"),
    ("empty", lambda file: file.write_bytes(b""), "is empty|has no (jobs|clusters|nodes)"),
    ("blank", lambda file: file.write_bytes(b"\n\n"), "is empty|has no (jobs|clusters|nodes)|is no header"),
    ("a byte of another encoding", lambda file: file.write_bytes(file.read_bytes() + b"\xff"), "is not UTF-8 text"),
    ("random bytes", lambda file: file.write_bytes(bytes(range(255, 0, -1)) * 40), "is not UTF-8 text"),
    ("a line of gigabytes", a_line_of_gigabytes, "is longer than 1,048,576 bytes; lines of a log are shorter"),
]


@pytest.mark.parametrize(("spoil", "words"), [case[1:] for case in SPOILED], ids=[case[0] for case in SPOILED])
@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_broken_file_is_named(
    name: str, file: str, spoil: Callable[[Path], object], words: str, place: Callable[[str, str], Path]
) -> None:
    spoiled = place(name, file)
    spoil(spoiled)
    choices = Choices(machines=str(spoiled)) if file == "nodes.txt" else AS_IT_IS
    with pytest.raises(TraceError, match=words) as caught:
        read(name, spoiled if file == "sacct.txt" else spoiled.parent, choices=choices)
    assert caught.value.file == spoiled


@pytest.mark.parametrize(("name", "file"), FILES)
def test_marks_line_ends_and_packing_mean_nothing(name: str, file: str, place: Callable[[str, str], Path]) -> None:
    changed = place(name, file)
    before = read(name, changed.parent)
    content = b"\xef\xbb\xbf" + changed.read_bytes().replace(b"\n", b"\r\n")
    for told in (content, gzip.compress(content)):
        changed.write_bytes(told)
        found = read(name, changed.parent)
        assert (found.arrivals, found.nodes, found.queues) == (before.arrivals, before.nodes, before.queues)


@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_file_that_may_not_be_read_is_named(
    name: str, file: str, place: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's answer is made up: whoever runs tests may be allowed everything."""
    closed = place(name, file)
    folder = closed.parent
    opened = Path.open

    def refusing(self: Path, *arguments: object, **named: object) -> object:
        if self == closed:
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **named)  # type: ignore[call-overload]  # whatever was asked for

    monkeypatch.setattr(Path, "open", refusing)
    choices = Choices(machines=str(closed)) if file == "nodes.txt" else AS_IT_IS
    with pytest.raises(TraceError, match="may not be read by this user"):
        read(name, closed if file == "sacct.txt" else folder, choices=choices)


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"nowhere: (is not a folder|does not exist)"):
        read(name, tmp_path / "nowhere")


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_without_the_files_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"holds (no|nothing) ") as caught:
        read(name, tmp_path)
    assert caught.value.file == tmp_path


# --- what promises more than memory holds ---------------------------------------------------------------------------


def test_a_line_without_an_end_takes_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "jobs.csv"
    a_line_of_gigabytes(file)
    tracemalloc.start()
    try:
        with pytest.raises(TraceError, match="is longer than"):
            list(read_rows(file, ("a",)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("name", ["dlrm", "openb", "philly", "gavel", "google", "own", "slurm", "swf"])
def test_a_file_that_unpacks_to_many_times_its_size_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blank lines without end: no row of them is wrong, and no log has them. The bound is lowered for the test."""
    monkeypatch.setattr(text, "UNPACKED_FREELY", 1 << 16)
    folder = copied(name, tmp_path)
    file = max(
        (file for file in folder.iterdir() if file.suffix in (".csv", ".txt", ".swf")),
        key=lambda file: ("job" in file.name or "pod" in file.name or "sacct" in file.name, file.name),
    )
    file.write_bytes(gzip.compress(file.read_bytes() + b"\n" * (1 << 20)))
    with pytest.raises(TraceError, match="unpacks to more than 200 times its size; no log does") as caught:
        read(name, folder)
    assert caught.value.file == file
    assert caught.value.line is not None


def test_an_honest_log_that_packs_well_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "UNPACKED_FREELY", 1 << 16)
    file = tmp_path / "t.csv.gz"
    file.write_bytes(gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(50_000))))
    assert sum(1 for _ in read_rows(file, ("a", "b"))) == 50_000


HEADERS = [
    ("; MaxNodes: 4\n", "; MaxNodes: 10000000000\n", 4, "MaxNodes", "must be between 1 and 200000, got 10000000000"),
    ("; MaxNodes: 4\n", "; MaxNodes: four\n", 4, "MaxNodes", "must be an integer, got 'four'"),
    ("; MaxProcs: 32\n", "; MaxProcs: 0\n", 5, "MaxProcs", "must be between 1 and"),
    ("1600000000", "-5", 3, "UnixStartTime", "must be between 0 and"),
    ("; MaxJobs: 1\n", "", None, None, None),
]


@pytest.mark.parametrize(("old", "new", "line", "column", "words"), HEADERS)
def test_a_header_that_promises_too_much_is_named(
    old: str, new: str, line: int | None, column: str | None, words: str | None, tmp_path: Path
) -> None:
    file = copied("swf", tmp_path) / "small.swf"
    content = file.read_text()
    if words is None:  # what a header says of the number of jobs is not believed, either way
        file.write_text("; MaxJobs: 10000000000000\n" + content)
        assert len(read("swf", file).arrivals) == 6
        return
    file.write_text(content.replace(old, new))
    with pytest.raises(TraceError) as caught:
        read("swf", file)
    assert (caught.value.file, caught.value.line, caught.value.column) == (file, line, column)
    assert words in caught.value.what


def test_a_header_without_machines_says_what_to_do(tmp_path: Path) -> None:
    file = copied("swf", tmp_path) / "small.swf"
    file.write_text(file.read_text().replace("MaxNodes", "Nodes").replace("MaxProcs", "Procs"))
    with pytest.raises(TraceError, match="has no '; MaxNodes:' or '; MaxProcs:' in its header; say the machines in"):
        read("swf", file)


SWF_ROWS = [
    ("2 10 5 200", "2 -10 5 200", 8, "submit", "must be at least 0 seconds, got -10"),
    ("2 10 5 200", "2 10 5 -200", 8, "run", "must be between -1 and"),
    ("2 10 5 200", "2 10 -0.5 200", 8, "wait", "must be at least 0, or -1 where it is not known; got '-0.5'"),
    ("2 10 5 200", "2 10 5 long", 8, "run", "must be a number, got 'long'"),
    ("2 10 5 200", "1 10 5 200", 8, "job", "'1' stands on line 7 already; each id once"),
    ("16 600 -1 1 4", "16.5 600 -1 1 4", 8, "processors requested", "must be an integer, got '16.5'"),
    ("16 600 -1 1 4", "16 600 -1 1 anna", 8, "user", "must be an integer, got 'anna'"),
    ("2 10 5 200 16", "2 10 5 200", 8, None, "has 17 fields; each line has 18 columns: job, submit, wait, run"),
    ("2 10 5 200 16", "2 10 5 200 16 16", 8, None, "has 19 fields; each line has 18 columns"),
]


@pytest.mark.parametrize(("old", "new", "line", "column", "words"), SWF_ROWS)
def test_a_bad_line_of_a_log_is_named(
    old: str, new: str, line: int, column: str | None, words: str, tmp_path: Path
) -> None:
    file = copied("swf", tmp_path) / "small.swf"
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new, 1))
    with pytest.raises(TraceError) as caught:
        read("swf", file)
    assert (caught.value.file, caught.value.line, caught.value.column) == (file, line, column)
    assert words in caught.value.what


MACHINES = [
    ("0 a 2 8 1 100\n1 a 2 8 1 100\n", 2, "name", "'a' stands on line 1 already"),
    ("0 a 0 8 1 100\n", 1, "nodes", "must be between 1 and 200000, got 0"),
    ("0 a 200000 8 1 100\n1 b 1 8 1 100\n", 2, "nodes", "must be between 1 and 0, got 1"),
    ("0 a 9999999999 8 1 100\n", 1, "nodes", "must be between 1 and 200000"),
    ("0 a 2 8 0 100\n", 1, "speed", "must be between 1e-06 and"),
    ("0 a! 2 8 1 100\n", 1, "name", "must hold only letters"),
    ("0 a 2 8 1\n", 1, None, "has 5 fields; each line has 6 columns: id, name, nodes"),
]


@pytest.mark.parametrize(("content", "line", "column", "words"), MACHINES)
def test_bad_clusters_beside_a_log_are_named(
    content: str, line: int, column: str | None, words: str, tmp_path: Path
) -> None:
    folder = copied("swf", tmp_path)
    file = folder / "small.swf.machines"
    file.write_text(content)
    with pytest.raises(TraceError) as caught:
        read("swf", folder)
    assert (caught.value.file, caught.value.line, caught.value.column) == (file, line, column)
    assert words in caught.value.what


GAVEL = [
    ("gavel_jobs.csv", "1,Large", "0,Large", 3, "job_id", "'0' stands on line 2 already"),
    ("gavel_jobs.csv", "1,Large (batch size 64),1", "1,Larger,1", 3, "job_type", "'Larger|1' is not among the"),
    ("gavel_jobs.csv", "1,400.0,2000", "0,400.0,2000", 3, "scale_factor", "must be between 1 and"),
    ("gavel_jobs.csv", "400.0,2000", "400.0,-2000", 3, "total_steps", "must be between 0 and"),
    ("gavel_jobs.csv", "2000,0.5", "2000,-0.5", 3, "arrival_unit", "must be between 0 and"),
    ("gavel_jobs.csv", "arrival_unit", "arrival", 1, "arrival_unit", "is missing; the header must name job_id"),
    ("gavel_isolated_throughputs.json", '"v100": 5.0', '"v100": -5', 7, "throughputs.Large (batch size 64)|1.v100",
     "must be between 0 and"),
    ("gavel_isolated_throughputs.json", '"v100": 5.0', '"v100": "fast"', 7,
     "throughputs.Large (batch size 64)|1.v100", 'must be a number, got "fast"'),
    ("gavel_isolated_throughputs.json", '"throughputs"', '"speeds"', 1, "", "has no 'throughputs'"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "line", "column", "words"), GAVEL)
def test_bad_jobs_with_throughputs_are_named(
    file: str, old: str, new: str, line: int, column: str, words: str, tmp_path: Path
) -> None:
    folder = copied("gavel", tmp_path)
    content = (folder / file).read_text()
    assert old in content
    (folder / file).write_text(content.replace(old, new, 1))
    with pytest.raises(TraceError) as caught:
        read("gavel", folder)
    assert (caught.value.file, caught.value.line, caught.value.column) == (folder / file, line, column)
    assert words in caught.value.what
