"""`simulations sources` says where traces come from, and whether files are what they are called."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from simulations.traces import sources as module
from simulations.traces.formats import FORMATS
from simulations.traces.sources import File, Source, Verdict, check, sources
from tests.simulations.traces.test_recognise import Run, simulations  # noqa: F401 - a fixture


def test_every_public_format_has_a_source_and_every_source_a_format() -> None:
    assert {source.format for source in sources()} == set(FORMATS) - {"own", "slurm"}
    for source in sources():
        assert source.licence
        assert source.cite
        assert source.origin.startswith("https://")
        assert source.files
        assert all(len(file.sha256) == 64 and file.bytes > 0 for file in source.files)
        assert not source.file or source.file in {file.name for file in source.files}


def test_they_are_listed(simulations: Run) -> None:  # noqa: F811 - the fixture
    code, printed, _ = simulations("sources")
    assert code == 0
    for source in sources():
        assert f"{source.folder}: " in printed
        assert f"--trace {source.format} --path DIR/{source.folder}" in printed
        assert source.files[0].sha256 in printed
    listed = json.loads(simulations("sources", "--json")[1])
    assert [each["folder"] for each in listed] == [source.folder for source in sources()]


def source_of(**contents: bytes) -> Source:
    files = tuple(
        File(name.replace("_", "."), len(content), hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    )
    return Source("folder", "swf", "about", "https://example.org", "licence", "cite", "note", files)


def test_files_are_compared_with_their_checksums(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    simulations: Run,  # noqa: F811 - the fixture
) -> None:
    made = source_of(a_csv=b"first", b_csv=b"second", c_csv_gz=b"third", d_csv=b"fourth")
    monkeypatch.setattr(module, "sources", lambda: (made,))
    monkeypatch.setattr("simulations.commands.sources.sources", lambda: (made,))
    code, _, complained = simulations("sources", "--check", tmp_path)
    assert code == 3
    assert "holds no file of any source" in complained

    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.csv").write_bytes(b"first")
    (tmp_path / "c.csv").write_bytes(b"unpacked")
    verdicts = {each.file.name: each.verdict for each in check(tmp_path)}
    assert verdicts == {
        "a.csv": Verdict.SAME,
        "b.csv": Verdict.MISSING,
        "c.csv.gz": Verdict.UNPACKED,
        "d.csv": Verdict.MISSING,
    }
    code, printed, complained = simulations("sources", "--check", tmp_path)
    assert (code, complained) == (0, "")
    assert "1 of 4 files are as published, 2 missing" in printed

    (tmp_path / "b.csv").write_bytes(b"sec0nd")
    code, printed, complained = simulations("sources", "--check", tmp_path, "--json")
    assert code == 3
    assert {each["file"]: each["verdict"] for each in json.loads(printed)}["b.csv"] == "other"
    assert "b.csv: has another content than published (sha256" in complained
    (tmp_path / "deep" / "b.csv").write_bytes(b"second")
    assert simulations("sources", "--check", tmp_path)[0] == 0, "one of two with this name is the published one"


def test_a_folder_that_is_not_there_is_named(simulations: Run, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    code, _, complained = simulations("sources", "--check", tmp_path / "nowhere")
    assert code == 3
    assert "nowhere: is not a folder; give the one that holds the traces" in complained
