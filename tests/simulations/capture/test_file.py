"""Files of captures that are cut off, damaged, of another version, or no captures at all."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from allocator.domain.errors import FailedPrecondition
from allocator.wire.recording import CapturedRound
from simulations.capture.file import MOST_RECORD, CaptureError, CaptureReader, CaptureWriter
from simulations.capture.workload import read_workload
from tests.simulations.capture.replayed import captured_small


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("file") / "whole.capture.gz"
    captured_small(path, jobs=10)
    return path.read_bytes()


def rounds(path: Path) -> list[int]:
    return [one.snapshot.round for one in CaptureReader(path) if isinstance(one, CapturedRound)]


def written(tmp_path: Path, content: bytes, name: str = "some.capture.gz") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_wherever_a_file_is_cut_off_it_is_read_as_far_as_it_goes(tmp_path: Path, whole: bytes) -> None:
    everything = rounds(written(tmp_path, whole))
    seen = set()
    for length in range(60, len(whole), len(whole) // 25):
        path = written(tmp_path, whole[:length])
        reader = CaptureReader(path)
        try:
            found = [one.snapshot.round for one in reader if isinstance(one, CapturedRound)]
        except CaptureError as error:
            assert "nothing was captured" in str(error)  # noqa: PT017 - which of both depends on the length
            continue
        assert found == everything[: len(found)]
        assert reader.cut_off == [path]
        seen.add(len(found))
    assert len(seen) > 5


def test_what_was_flushed_can_be_read_while_it_is_written(tmp_path: Path, whole: bytes) -> None:
    source = CaptureReader(written(tmp_path, whole))
    records = list(source._records(source.files[0]))
    path = tmp_path / "growing.capture.gz"
    with CaptureWriter(path) as writer:
        for record in records[:4]:
            writer.add(record)
        writer.flush()
        assert list(CaptureReader(path)._records(path)) == records[:4]


def test_files_may_be_appended_to_one_another(tmp_path: Path, whole: bytes) -> None:
    once, twice = written(tmp_path, whole), written(tmp_path, whole + whole, "twice.capture.gz")
    reader = CaptureReader(twice)
    assert list(reader._records(twice)) == 2 * list(CaptureReader(once)._records(once))
    assert reader.cut_off == []


def test_a_cut_off_capture_is_replayed_and_says_so(tmp_path: Path, whole: bytes) -> None:
    found = read_workload(written(tmp_path, whole[: len(whole) // 2]))
    assert any("some.capture.gz was cut off, and read as far as it goes" in note for note in found.workload.notes)


def test_an_end_in_good_order_is_no_cut(tmp_path: Path, whole: bytes) -> None:
    reader = CaptureReader(written(tmp_path, whole))
    list(reader)
    assert reader.cut_off == []


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "is empty"),
        (b"job_id,time\n1,2\n", "is no capture: it is not compressed with gzip"),
        (gzip.compress(b"", mtime=0), "is compressed, but holds nothing"),
        (gzip.compress(b"job_id,time\n1,2\n", mtime=0), "is no capture: it does not begin with 'allocator capture '"),
        (gzip.compress(b"x" * 1000, mtime=0), "is no capture"),
        (gzip.compress(b"allocator capture 2\n", mtime=0), "is a capture of format 2; this version reads format 1"),
        (gzip.compress(b"allocator capture 1\n", mtime=0), "nothing was captured"),
        (gzip.compress(b"allocator capture 1\n" + b"\x03abc", mtime=0), "record 1: record: is no record of a capture"),
        (gzip.compress(b"allocator capture 1\n" + b"\xff" * 12, mtime=0), "a record's length makes no sense"),
        (
            gzip.compress(b"allocator capture 1\n\xff\xff\xff\xff\x7f", mtime=0),
            f"says that a record has {2**35 - 1} bytes; at most {MOST_RECORD} do",
        ),
    ],
)
def test_what_is_no_capture_is_named(tmp_path: Path, content: bytes, wrong: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(CaptureError, match=re.escape(wrong)) as raised:
        list(CaptureReader(path))
    assert str(path) in str(raised.value)


def test_a_damaged_file_is_named(tmp_path: Path, whole: bytes) -> None:
    middle = len(whole) // 2
    path = written(tmp_path, whole[:middle] + bytes(200) + whole[middle + 200 :])
    with pytest.raises(CaptureError, match=r"damaged|record \d+"):
        list(CaptureReader(path))


def test_a_capture_without_rounds_cannot_be_replayed(tmp_path: Path, whole: bytes) -> None:
    source = CaptureReader(written(tmp_path, whole))
    path = tmp_path / "begun.capture.gz"
    with CaptureWriter(path) as writer:
        writer.add(next(source._records(source.files[0])))
    with pytest.raises(CaptureError, match="holds no round"):
        read_workload(path)


def test_files_of_a_folder_are_one_capture(tmp_path: Path, whole: bytes) -> None:
    folder = tmp_path / "captures"
    folder.mkdir()
    with pytest.raises(CaptureError, match=r"is a folder without captures: no file ends with \.capture\.gz"):
        list(CaptureReader(folder))
    written(folder, whole, "1.capture.gz")
    everything = rounds(folder)
    written(folder, whole, "2.capture.gz")
    with pytest.raises(CaptureError, match=f"round {everything[0]} comes after round {everything[-1]}"):
        rounds(folder)


def test_where_nothing_is_there_is_no_capture(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="does not exist"):
        CaptureReader(tmp_path / "none")


def test_a_file_that_is_there_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = written(tmp_path, b"precious")
    with pytest.raises(FailedPrecondition, match="is there already"):
        CaptureWriter(path)
    assert path.read_bytes() == b"precious"
    CaptureWriter(path, force=True).close()
    assert path.read_bytes() != b"precious"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    written(tmp_path, b"", "file")
    with pytest.raises(FailedPrecondition, match="cannot be written"):
        CaptureWriter(tmp_path / "file" / "x.capture.gz")
