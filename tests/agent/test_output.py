"""What runs have printed, read back from their files: pieces, last lines, forgotten runs, and files that lie."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.agent.output import OutputReader
from allocator.client.printed import tail_begin
from allocator.domain.output import OutputFault, OutputMissing, OutputPiece, OutputQuestion
from allocator.domain.placement import Epoch
from tests.agent.conftest import Machine
from tests.agent.wanted import replica, shell


def ask(machine: Machine, job_id: str = "j1", **fields: object) -> OutputPiece:
    return OutputReader(machine.runner.settings).read(OutputQuestion("n", job_id, **fields))  # type: ignore[arg-type] # fields of the question


def missing(machine: Machine, job_id: str = "j1", **fields: object) -> OutputMissing:
    with pytest.raises(OutputMissing) as refused:
        ask(machine, job_id, **fields)
    return refused.value


def test_pieces_follow_one_another_until_all_is_read(machine: Machine) -> None:
    machine.want(replica(process=shell("printf 0123456789")))
    machine.ended()
    first = ask(machine, most_bytes=4)
    assert (first.content, first.offset, first.size, first.complete) == (b"0123", 0, 10, False)
    rest = ask(machine, run=first.run, offset=first.end)
    assert (rest.content, rest.complete) == (b"456789", True)
    assert ask(machine, run=first.run, offset=10).content == b""


def test_of_what_runs_nothing_is_complete(machine: Machine) -> None:
    machine.want(replica(process=shell("echo begun; exec sleep 600")))
    machine.says("begun")
    assert not ask(machine).complete
    assert ask(machine).content == b"begun\n"


def test_a_forgotten_run_is_found_and_the_newest_is_asked_for(machine: Machine) -> None:
    machine.want(replica(process=shell("echo first"), epoch=1))
    machine.ended()
    machine.want(replica(process=shell("echo second"), epoch=2), epoch=2)
    machine.ended()
    machine.want(epoch=3)
    assert machine.runner.runs() == ()
    assert ask(machine).content == b"second\n"
    old = ask(machine, start_epoch=Epoch(1, 0))
    assert (old.content, old.complete, old.start_epoch) == (b"first\n", True, Epoch(1, 0))
    assert missing(machine, start_epoch=Epoch(7, 0)).fault is OutputFault.NO_RUN


def test_each_replica_has_its_own(machine: Machine) -> None:
    process = shell("echo rank $ALLOCATOR_RANK")
    machine.want(*(replica(process=process, number=rank, replicas=2) for rank in range(2)))
    for rank in range(2):
        machine.ended(number=rank)
        assert ask(machine, replica=rank).content == f"rank {rank}\n".encode()
    assert missing(machine, replica=2).fault is OutputFault.NO_RUN


def test_files_that_the_job_names_begin_where_the_run_did(machine: Machine) -> None:
    for epoch in (1, 2):
        process = shell("echo out $0; echo err >&2", output="logs/%j.out", errors="e")
        machine.want(replica(process=process, epoch=epoch), epoch=epoch)
        machine.ended()
    machine.want(epoch=3)
    assert ask(machine).content == b"out /bin/sh\n"
    assert ask(machine).offset == len(b"out /bin/sh\n")
    assert ask(machine, errors=True).content == b"err\n"
    assert ask(machine, start_epoch=Epoch(1, 0)).content.startswith(b"out")


def test_what_was_removed_or_cut_off_is_told(machine: Machine) -> None:
    machine.want(replica(process=shell("echo 0123456789", output="o")))
    machine.ended()
    file = machine.state / "work/j1/o"
    file.write_text("")
    assert missing(machine, offset=5).fault is OutputFault.GONE
    file.unlink()
    assert missing(machine).fault is OutputFault.GONE
    machine.want(replica("j2", shell("echo x")), epoch=2)
    machine.ended("j2")
    machine.want(epoch=3)
    (kept,) = (machine.state / "output/j2").iterdir()
    kept.unlink()
    assert "removed" in missing(machine, "j2").message


@pytest.mark.parametrize("trap", ["link", "folder link", "pipe", "directory"])
def test_nothing_that_the_job_put_in_its_place_is_followed(machine: Machine, tmp_path: Path, trap: str) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "o").write_text("secret")
    machine.want(replica(process=shell("echo x", output="logs/o")))
    machine.ended()
    logs = machine.state / "work/j1/logs"
    (logs / "o").unlink()
    if trap == "link":
        (logs / "o").symlink_to(secret / "o")
    elif trap == "pipe":
        os.mkfifo(logs / "o")
    elif trap == "directory":
        (logs / "o").mkdir()
    else:
        logs.rmdir()
        logs.symlink_to(secret)
    assert missing(machine).fault is OutputFault.UNREADABLE


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make another user's file")
def test_another_users_file_is_not_read(machine: Machine, tmp_path: Path) -> None:
    """A job can name any folder as its working directory, and so any file."""
    (tmp_path / "shadow").write_text("secret")
    process = shell("echo x", directory=str(tmp_path), output="shadow")
    machine.want(replica(process=process))
    machine.ended()
    os.chown(tmp_path / "shadow", 12345, 12345)
    refused = missing(machine)
    assert refused.fault is OutputFault.UNREADABLE
    assert "does not belong" in refused.message


@pytest.mark.parametrize("job_id", ["../x", "", "a/b", ".", "no-such-job", "j"])
def test_jobs_that_are_not_here(machine: Machine, job_id: str) -> None:
    machine.want(replica(process=shell("echo x")))
    machine.ended()
    assert missing(machine, job_id).fault is OutputFault.NO_RUN


async def test_a_question_waits_for_more(machine: Machine) -> None:
    machine.want(replica(process=shell("until test -e go; do sleep 0.02; done; echo more")))
    reader = OutputReader(machine.runner.settings)
    asked = asyncio.create_task(reader.answer(OutputQuestion("n", "j1", offset=0, wait_seconds=30)))
    early = await reader.answer(OutputQuestion("n", "j1", wait_seconds=0.1))
    assert (early.content, early.complete) == (b"", False)
    assert not asked.done()
    (machine.state / "work/j1/go").touch()
    assert (await asyncio.wait_for(asked, 20)).content == b"more\n"


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.sampled_from(["", "a", "bc", "x" * 70_000]), max_size=8), st.integers(0, 10), st.booleans(),
       st.integers(0, 5))  # fmt: skip
def test_the_last_lines_are_those_of_splitlines(texts: list[str], lines: int, ended: bool, begin: int) -> None:
    whole = "\n".join(texts).encode() + (b"\n" if ended and texts else b"")
    begin = min(begin, len(whole))
    file = os.memfd_create("lines")
    try:
        os.write(file, whole)
        found = whole[tail_begin(file, begin, len(whole), lines) :]
    finally:
        os.close(file)
    every = whole[begin:].splitlines(keepends=True)
    assert found == b"".join(every[len(every) - min(lines, len(every)) :])
