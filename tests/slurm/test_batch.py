"""What a Slurm job of ours runs: its batch script and its tasks, in a real shell, with an srun of the test's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from allocator.domain.placement import Epoch
from allocator.domain.process import Process
from allocator.engine.runs import Run, Wanted
from allocator.slurm.batch import script
from allocator.slurm.gangs import Gang
from allocator.slurm.holders import Holders
from allocator.slurm.spool import Spool
from tests.slurm.test_reconcile import RUN, gang

SLURMS = {**os.environ, "SLURM_JOB_ID": "17", "SLURM_PROCID": "0"}
ONE_BY_ONE = """SLURM_PROCID=0 "$@" || exit
SLURM_PROCID=1 "$@" || exit
"""
"""What such an srun does: its tasks, until one fails."""
ALL = """SLURM_PROCID=0 "$@"; code=$?
SLURM_PROCID=1 "$@" && exit "$code"
"""
"""Each of them, whatever becomes of the others."""


@pytest.mark.parametrize("word", ["$(touch never)", "`id`", "a'b\"c", "{braces} %s %t", "new\nline", "--flag", "\\"])
def test_no_word_of_a_job_is_read_by_a_shell(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script of one replica, and that of a gang with srun left out: each word comes through as it is."""
    process = Process(
        ("python3", "-c", "import sys,os;print(ascii(sys.argv[1:]+[os.environ['X']]))", word), (("X", word),)
    )
    step = '"$ALLOCATOR_SRUN" --kill-on-bad-exit=1 --export=ALL -- '
    monkeypatch.setattr("allocator.slurm.batch.MOST_LATE_SECONDS", 0)
    for whole, code in (
        (gang("a", process=process), 0),
        (gang("a", "b", process=process), 1),
    ):  # of that, only one task
        folder = tmp_path / str(len(whole.nodes))
        Spool(folder).prepare()
        assert Holders(folder, 10.0).claim(RUN, "17")
        text = script(whole, folder, 10.0)
        assert (step in text) == (len(whole.nodes) > 1)
        plain = text.replace(step, "", 1)
        ran = subprocess.run(["sh", "-c", plain], capture_output=True, text=True, cwd=tmp_path, check=False, env=SLURMS)
        assert ran.stdout == ascii([word, word]) + "\n"
        assert Spool(folder).exit_text(RUN) == f"{code}\n"
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("command", "code", "printed"),
    [
        (("echo", "a\\nb"), 0, "a\\nb\n"),
        (("exit", "0"), 127, ""),
        (("exec", "true"), 127, ""),
        (("eval", "echo read by a shell"), 127, ""),
        ((".", "./words"), 126, ""),
        (("trap", "echo ended", "EXIT"), 127, ""),
        (("[", "a", "=", "b", "]"), 1, ""),
    ],
)
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_command_is_a_program_though_shells_have_one_of_that_name(
    tmp_path: Path, command: tuple[str, ...], code: int, printed: str, replicas: int
) -> None:
    (tmp_path / "words").write_text("echo read by a shell\n")
    with begun(tmp_path, command, ALL, replicas=replicas) as running:
        ran, _ = running.communicate(timeout=30)
    assert (running.returncode, ran) == (code, printed * (1 if code else replicas))
    assert Spool(tmp_path).exit_text(RUN) == f"{code}\n"


def test_a_start_after_one_that_was_lost_tells_its_own_end_unless_that_has_succeeded(tmp_path: Path) -> None:
    for number, (before, code, printed) in enumerate((("1\n", 3, "ran\n" * 2), ("0\n", 0, ""), ("", 3, "ran\n" * 2))):
        folder = tmp_path / str(number)
        Spool(folder).prepare()
        (folder / "exits" / RUN.file_name).write_text(before)
        with begun(folder, ("sh", "-c", "echo ran; [ $ALLOCATOR_RANK = 0 ] || exit 3"), ALL) as running:
            ran, _ = running.communicate(timeout=30)
        assert (running.returncode, ran, Spool(folder).exit_text(RUN)) == (code, printed, f"{code}\n")


def test_a_task_that_cannot_tell_of_its_success_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allocator.slurm.batch.MOST_LATE_SECONDS", 0)
    spoilt = f"rm -r {tmp_path}/*.done; mkdir -p {tmp_path / RUN.file_name}.started.done/$ALLOCATOR_RANK"
    with begun(tmp_path, ("sh", "-c", spoilt), ALL, errors=subprocess.PIPE) as running:
        _, errors = running.communicate(timeout=30)
    assert "started.done/0" in errors
    assert running.returncode == 1


@pytest.mark.parametrize("replicas", [1, 2])
def test_variables_of_a_job_are_for_its_command_only(tmp_path: Path, replicas: int) -> None:
    """Not for the script around it: it finds its programs, and the job its variables, whatever they are called."""
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift\n' + ONE_BY_ONE)
    srun.chmod(0o755)
    names = ("PATH", "code", "tries", "command", "id", "run", "rest", "holder", "pause", "started", "ended")
    wanted = {name: f"its {name}" for name in names} | {"PATH": "/nowhere"}
    told = f"import os; print(all(os.environ.get(n) == v for n, v in {wanted}.items()))"
    process = Process((sys.executable, "-c", told), tuple(sorted(wanted.items())))
    first, *others = gang(*"ab"[:replicas], process=process).replicas
    Spool(tmp_path).prepare()
    assert Holders(tmp_path, 10.0).claim(RUN, "17")
    text = script(Gang(RUN, (Wanted(first[0], replace(first[1], failures=0)), *others)), tmp_path, 10.0)
    environment = SLURMS | {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    ran = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, check=True, env=environment)
    assert (ran.stdout, ran.stderr) == ("True\n" * replicas, "")
    assert Spool(tmp_path).exit_text(RUN) == "0\n"
    assert "ALLOCATOR_ATTEMPT=1\n" in text


def test_a_gang_that_could_not_be_started_whole_is_started_again(tmp_path: Path) -> None:
    """An srun that loses a node at its first try, as a node's death makes it; then one whose command really fails."""
    (tmp_path / "bin").mkdir()
    srun = tmp_path / "bin" / "srun"
    srun.write_text(
        '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift\n'
        'SLURM_PROCID=0 "$@"; code=$?\n'
        "if [ ! -e tried ]; then touch tried; exit 233; fi\n"
        'SLURM_PROCID=1 "$@"; exit "$code"\n'
    )
    srun.chmod(0o755)
    Spool(tmp_path).prepare()
    assert Holders(tmp_path, 10.0).claim(RUN, "17")
    text = script(gang("a", "b", process=Process(("sh", "-c", "echo ran; exit 3"))), tmp_path, 10.0)
    environment = SLURMS | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    ran = subprocess.run(["sh", "-c", text], capture_output=True, text=True, cwd=tmp_path, check=False, env=environment)
    assert (ran.returncode, ran.stdout) == (3, "ran\n" * 3)
    assert Spool(tmp_path).exit_text(RUN) == "3\n"


def test_a_file_that_cannot_be_written_fails_the_job_at_once(tmp_path: Path) -> None:
    Spool(tmp_path).prepare()
    assert Holders(tmp_path, 10.0).claim(RUN, "17")
    text = script(gang("a", process=Process(("echo", "x"), output="no/such/folder")), tmp_path, 10.0)
    ran = subprocess.run(["sh", "-c", text], capture_output=True, text=True, cwd=tmp_path, check=False, env=SLURMS)
    assert ran.returncode != 0
    assert "no/such/folder" in ran.stderr
    assert Spool(tmp_path).exit_text(RUN) == f"{ran.returncode}\n"


@contextmanager
def begun(
    folder: Path, command: str | tuple[str, ...], srun: str, replicas: int = 2, errors: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The script of a gang of two whose srun does this with the command, or with these words for a shell."""
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "srun"
    program.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift\n' + srun)
    program.chmod(0o755)
    Spool(folder).prepare()
    assert Holders(folder, 10.0).claim(RUN, "17")
    process = Process(("sh", "-c", command) if isinstance(command, str) else command)
    text = script(gang(*"ab"[:replicas], process=process), folder, 10.0)
    environment = SLURMS | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    running = subprocess.Popen(
        ["sh", "-c", text],
        text=True, cwd=folder, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=errors,
    )  # fmt: skip
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        for pipe in (running.stdout, running.stderr):
            if pipe is not None:
                pipe.close()


def wait_for(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until, path
        time.sleep(0.01)


def test_a_gang_has_succeeded_when_its_tasks_have_not_when_srun_says_so(tmp_path: Path) -> None:
    with begun(tmp_path, "true", ONE_BY_ONE + "sleep 60") as running:
        wait_for(tmp_path / "exits" / RUN.file_name)
        assert Spool(tmp_path).exit_text(RUN) == "0\n"
        assert running.poll() is None
    Spool(tmp_path).forget(RUN)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bin", "exits", "j1.holder"]
    assert list((tmp_path / "exits").iterdir()) == []


@pytest.mark.parametrize("command", ['[ "$ALLOCATOR_RANK" = 0 ]', '[ "$ALLOCATOR_RANK" = 0 ] || kill -9 $$'])
def test_a_gang_of_which_one_has_failed_has_failed(tmp_path: Path, command: str) -> None:
    with begun(tmp_path, command, ONE_BY_ONE) as running:
        assert running.wait(30) in (1, 137)
    assert Spool(tmp_path).exit_text(RUN) == f"{running.returncode}\n"


def test_a_gang_of_which_a_task_was_lost_has_not_succeeded_though_srun_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does where a node dies and all other tasks end well (seen of Slurm 22.05)."""
    monkeypatch.setattr("allocator.slurm.batch.MOST_LATE_SECONDS", 1)
    with begun(tmp_path, "true", 'SLURM_PROCID=0 "$@"; exit 0') as running:
        assert running.wait(30) == 1
    assert Spool(tmp_path).exit_text(RUN) == "1\n"


def test_a_gang_that_may_not_run_any_more_tells_nothing(tmp_path: Path) -> None:
    with begun(tmp_path, "echo 18 > j1.holder", ONE_BY_ONE) as running:
        assert running.wait(30) == 0
    assert Spool(tmp_path).exit_text(RUN) is None


def test_a_gang_that_goes_on_as_another_run_is_told_of_by_its_script(tmp_path: Path) -> None:
    """Whose folders are gone."""
    again = Run("j1", Epoch(9, 30))
    with begun(tmp_path, f"rm -rf {RUN.file_name}.*; echo 17 {again.file_name} > j1.holder", ONE_BY_ONE) as running:
        assert running.wait(30) == 0
    assert (Spool(tmp_path).exit_text(RUN), Spool(tmp_path).exit_text(again)) == (None, "0\n")


def test_a_task_that_is_told_to_end_ends_as_its_command_does(tmp_path: Path) -> None:
    """Slurm tells all processes of a step; the command takes its time, and says how it went."""
    command = (
        "[ ! -e saved ] || exit 0; "
        "trap 'sleep 0.3; touch saved; exit 0' TERM; touch ready; while :; do sleep 0.01; done"
    )
    with begun(tmp_path, command, "trap : TERM\n" + ONE_BY_ONE) as running:
        wait_for(tmp_path / "ready")
        os.killpg(running.pid, signal.SIGTERM)
        assert running.wait(30) == 0
        assert (tmp_path / "saved").exists()
