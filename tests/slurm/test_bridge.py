"""The bridge while Slurm, the daemon or a node is in trouble: programs that answer as told stand in for Slurm's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from allocator.client import Lease
from allocator.domain.cluster import Node
from allocator.domain.errors import AllocatorError, FailedPrecondition, NotFound, StoreUnavailable
from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired
from allocator.domain.process import Process
from allocator.domain.resources import Resources
from allocator.engine.runs import Run
from allocator.intake.commands import ReplicaReport, ReplicaState
from allocator.slurm.bridge import Bridge, Settings
from allocator.slurm.control import Control
from allocator.slurm.gangs import comment_of
from allocator.slurm.spool import exits_folder

PATIENCE = 60.0
_PROGRAM = """#!/bin/sh
FAKE=$(dirname "$0")
echo "$(basename "$0") $*" >> "$FAKE/calls"
if [ -e "$FAKE/broken" ]; then cat "$FAKE/broken" >&2; exit 1; fi
name=$(basename "$0")
if [ -e "$FAKE/$name.takes" ]; then sleep "$(cat "$FAKE/$name.takes")"; fi
if [ -e "$FAKE/$name.fails" ]; then cat "$FAKE/$name.fails" >&2; exit 1; fi
if [ -e "$FAKE/$name.says" ]; then cat "$FAKE/$name.says"; fi
"""


class Slurm:
    """Slurm's programs, in a folder of their own: what each says, or why it fails, is in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("scontrol", "squeue", "sbatch", "scancel"):
            (folder / name).write_text(_PROGRAM)
            (folder / name).chmod(0o755)
        self.nodes(a="IDLE", b="IDLE")
        (folder / "calls").touch()
        (folder / "sbatch.says").write_text("7\n")
        self.control = Control(environment=dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}"))

    def nodes(self, **states: str) -> None:
        lines = [
            f"NodeName={name} CPUTot=4 CPUAlloc=0 RealMemory=1000 AllocMem=0 State={state} Partitions=all"
            for name, state in states.items()
        ]
        (self.folder / "scontrol.says").write_text("\n".join(lines))

    def called(self, program: str) -> list[str]:
        return [line for line in (self.folder / "calls").read_text().splitlines() if line.startswith(f"{program} ")]


class Daemon:
    """What the bridge asks of a client: it keeps what it was told."""

    def __init__(self) -> None:
        self.hears_reports = True
        self.beats: list[str] = []
        self.reports: list[ReplicaReport] = []
        self.cordoned: list[tuple[str, bool]] = []
        self.desired: dict[str, NodeDesired] = {}
        self.away: AllocatorError | None = None
        self.registered: dict[str, Node] = {}
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        self.mute: set[str] = set()

    async def register_node(self, node: Node) -> None:
        self._answer()
        if node.name in self.refused:
            raise FailedPrecondition(f"node {node.name!r}", "runs 1 job as flavor 'v100'")
        self.registered[node.name] = node

    async def cordon_node(self, name: str, *, cordoned: bool) -> None:
        self._answer()
        self.cordoned.append((name, cordoned))

    async def heartbeat(self, name: str, reports: Iterable[ReplicaReport] = ()) -> Lease:
        self._answer()
        reports = list(reports)
        if reports and not self.hears_reports:
            raise StoreUnavailable("gone")
        self.beats.append(name)
        self.reports += reports
        return Lease(10.0, 0.0)

    async def watch_allocations(self, name: str) -> AsyncIterator[NodeDesired]:
        if name in self.unknown:
            raise NotFound(f"node {name!r}", "is not known")
        said = None
        while True:
            if name in self.mute:
                await asyncio.sleep(0.01)
                continue
            wanted = self.desired.get(name, NodeDesired(name, Epoch(1, 0), ()))
            if wanted != said:
                said = wanted
                yield wanted
            await asyncio.sleep(0.01)

    def _answer(self) -> None:
        if self.away is not None:
            raise self.away


class Scene:
    """A bridge that runs between both."""

    def __init__(self, folder: Path, slurm: Slurm, daemon: Daemon, poll_seconds: float = 0.02) -> None:
        self.slurm, self.daemon, self.spool = slurm, daemon, folder / "spool"
        client: Any = daemon
        self.bridge = Bridge(client, slurm.control, Settings(self.spool, poll_seconds=poll_seconds), self._polled)
        self.task = asyncio.create_task(self.bridge.run())
        self.polls = 0

    def _polled(self) -> None:
        self.polls += 1

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not happened():
                assert not self.task.done(), self.task.exception()
                await asyncio.sleep(0.01)

    async def polled(self, times: int = 2) -> None:
        """That many polls that have begun and ended well since."""
        seen = self.polls
        await self.until(lambda: self.polls > seen + times)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """Whose nodes are looked at with every poll."""
    monkeypatch.setattr("allocator.slurm.bridge._NODES_SECONDS", 0.0)
    folder = tmp_path / "bin"
    folder.mkdir()
    return Slurm(folder)


@asynccontextmanager
async def driving(
    folder: Path, slurm: Slurm, daemon: Daemon, poll_seconds: float = 0.02, polls: int = 2
) -> AsyncIterator[Scene]:
    scene = Scene(folder, slurm, daemon, poll_seconds)
    try:
        await scene.polled(polls)
        yield scene
    finally:
        scene.task.cancel()
        await asyncio.gather(scene.task, return_exceptions=True)


def replica(node: str, run: Run, process: Process | None = None) -> NodeDesired:
    demand = Resources(cpu_millicores=1000, memory_bytes=2**20)
    process = process or Process(("true",))
    one = DesiredReplica(run.job_id, 0, 1, run.start, "cpu", demand, (), run.start, process=process, queue="q")
    return NodeDesired(node, Epoch(2, 0), (one,))


@pytest.mark.parametrize(
    "words", ["slurm_load_jobs error: Unable to contact slurm controller", "error: words that nobody has thought of"]
)
async def test_it_outlives_whatever_is_wrong_with_slurm_and_with_the_daemon(
    tmp_path: Path, slurm: Slurm, words: str
) -> None:
    daemon = Daemon()
    async with driving(tmp_path, slurm, daemon) as scene:
        daemon.away = StoreUnavailable("gone")
        (slurm.folder / "broken").write_text(words)
        asked = len(slurm.called("scontrol"))
        await scene.until(lambda: len(slurm.called("scontrol")) > asked + 3)
        (slurm.folder / "broken").unlink()
        daemon.away = None
        daemon.beats.clear()
        await scene.polled()
        assert set(daemon.beats) == {"a", "b"}


async def test_a_dead_node_does_not_come_to_life_because_the_controller_is_away(tmp_path: Path, slurm: Slurm) -> None:
    daemon = Daemon()
    async with driving(tmp_path, slurm, daemon) as scene:
        slurm.nodes(a="IDLE", b="DOWN*")
        await scene.polled()
        (slurm.folder / "broken").write_text("Unable to contact slurm controller")
        daemon.beats.clear()
        await scene.until(lambda: len(daemon.beats) > 2)
        assert set(daemon.beats) == {"a"}


async def test_what_ended_lately_is_not_taken_for_somebody_elses(
    tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm still tells that its node is in use: whoever has the place by now would be stopped for a lack of room."""
    daemon, run = Daemon(), Run("j1", Epoch(2, 0))
    daemon.desired = {"a": replica("a", run)}
    (slurm.folder / "squeue.says").write_text(f"6|RUNNING|a|1|1|1|None|{comment_of(run)}\n")
    async with driving(tmp_path, slurm, daemon) as scene:
        slurm.nodes(a="MIXED CPUAlloc=1", b="IDLE")
        (slurm.folder / "squeue.says").write_text(f"6|COMPLETED|a|1|1|1|None|{comment_of(run)}\n")
        await scene.polled(5)
        assert daemon.registered["a"].capacity.cpu_millicores == 4000
        monkeypatch.setattr("allocator.slurm.bridge._TOLD_LATE_SECONDS", 0.0)
        await scene.until(lambda: daemon.registered["a"].capacity.cpu_millicores == 3000)


async def test_what_slurm_refuses_again_and_again_has_failed_and_says_why(
    tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allocator.slurm.outcomes._REFUSAL_SECONDS", 0.1)
    daemon = Daemon()
    daemon.desired = {"a": replica("a", Run("j1", Epoch(2, 0)))}
    (slurm.folder / "sbatch.fails").write_text("sbatch: error: Batch script contains DOS line breaks")
    async with driving(tmp_path, slurm, daemon) as scene:
        await scene.until(lambda: any(report.state is ReplicaState.FAILED for report in daemon.reports))
        failed = next(report for report in daemon.reports if report.state is ReplicaState.FAILED)
        assert (failed.job_id, "DOS line breaks" in failed.message) == ("j1", True)
        asked = len(slurm.called("sbatch"))
        await scene.polled()
        assert len(slurm.called("sbatch")) == asked > 4


async def test_nodes_live_while_many_jobs_are_submitted(
    tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes the controller a while; all of them together more than a lease."""
    monkeypatch.setattr("allocator.slurm.bridge._STRETCH_SECONDS", 0.05)
    monkeypatch.setattr("allocator.slurm.bridge._AT_ONCE", 1)
    (slurm.folder / "sbatch.takes").write_text("0.06")
    daemon = Daemon()
    wanted = [replica("a", Run(f"j{number}", Epoch(2, 0))).replicas[0] for number in range(12)]
    daemon.desired = {"a": NodeDesired("a", Epoch(2, 0), tuple(wanted))}
    async with driving(tmp_path, slurm, daemon) as scene:
        before, asked = len(daemon.beats), len(slurm.called("sbatch"))
        await scene.until(lambda: len(slurm.called("sbatch")) >= asked + 12)
        assert len(daemon.beats) > before + 4


async def test_a_node_that_slurm_resumed_while_nobody_drove_is_opened_again(tmp_path: Path, slurm: Slurm) -> None:
    """But not one that an operator closed."""
    daemon = Daemon()
    slurm.nodes(a="IDLE+DRAIN", b="IDLE")
    async with driving(tmp_path, slurm, daemon) as scene:
        await scene.polled()
    assert daemon.cordoned == [("a", True)]
    slurm.nodes(a="IDLE", b="IDLE")
    for _ in range(2):
        async with driving(tmp_path, slurm, daemon) as scene:
            await scene.polled()
    assert daemon.cordoned == [("a", True), ("a", False)]


async def test_what_has_begun_and_is_in_nobodys_books_is_not_begun_again(
    tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody cancelled it while nobody drove, longer ago than Slurm remembers."""
    daemon, run = Daemon(), Run("j1", Epoch(2, 0))
    daemon.desired = {"a": replica("a", run)}
    (tmp_path / "spool" / f"{run.file_name}.started").mkdir(parents=True)
    (tmp_path / "spool" / f"{run.file_name}.started" / "0").touch()
    async with driving(tmp_path, slurm, daemon) as scene:
        await scene.until(lambda: any(report.job_id == "j1" for report in daemon.reports))
        assert {report.state for report in daemon.reports} == {ReplicaState.RUNNING}
        monkeypatch.setattr("allocator.slurm.reconcile.MOST_LATE_SECONDS", 0.0)
        await scene.until(lambda: any(report.state is ReplicaState.FAILED for report in daemon.reports))
    assert slurm.called("sbatch") == []


async def test_a_success_is_told_when_it_is_written(
    tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though Slurm, which is asked rarely, still has it as running; and it is left to end by itself."""
    daemon, run = Daemon(), Run("j1", Epoch(2, 0))
    daemon.desired = {"a": replica("a", run, Process(("true",), grace_seconds=0.0))}
    running = f"6|RUNNING|a|1|1|1|None|{comment_of(run)}\n"
    (slurm.folder / "squeue.says").write_text(running)
    async with driving(tmp_path, slurm, daemon) as scene:
        (slurm.folder / "squeue.takes").write_text("3")
        asked = len(slurm.called("squeue"))
        await scene.until(lambda: len(slurm.called("squeue")) > asked)  # no poll tells anything for some seconds
        polls = scene.polls
        (exits_folder(tmp_path / "spool") / run.file_name).write_text("0\n")
        await scene.until(lambda: any(report.state is ReplicaState.SUCCEEDED for report in daemon.reports))
        assert scene.polls == polls
        (slurm.folder / "squeue.takes").unlink()
        daemon.desired = {"a": NodeDesired("a", Epoch(3, 0), ())}
        await scene.polled(4)
        assert slurm.called("scancel") == []
        monkeypatch.setattr("allocator.slurm.outcomes._LAST_WORDS_SECONDS", 0.0)  # it hangs
        await scene.until(lambda: "scancel 6" in slurm.called("scancel"))


async def test_what_is_newly_wanted_is_submitted_without_a_look_and_nothing_is_stopped_without_one(
    tmp_path: Path, slurm: Slurm
) -> None:
    daemon, run = Daemon(), Run("j1", Epoch(2, 0))
    async with driving(tmp_path, slurm, daemon, poll_seconds=600.0, polls=0) as scene:
        looks = len(slurm.called("squeue"))
        daemon.desired = {"a": replica("a", run)}
        await scene.until(lambda: slurm.called("sbatch"))
        seen = scene.polls
        daemon.desired["b"] = NodeDesired("b", Epoch(5, 0), ())  # news of something else
        await scene.until(lambda: scene.polls > seen)
        assert (len(slurm.called("sbatch")), len(slurm.called("squeue"))) == (1, looks)
        (slurm.folder / "squeue.says").write_text(f"7|RUNNING|a|1|1|1|None|{comment_of(run)}\n")
        daemon.desired["a"] = NodeDesired("a", Epoch(6, 0), ())
        await scene.until(lambda: slurm.called("scancel"))
    calls = (slurm.folder / "calls").read_text().splitlines()
    stopped = next(number for number, line in enumerate(calls) if line.startswith("scancel "))
    assert calls[stopped] == "scancel --full --signal=TERM 7", "it runs, which was not known when it was submitted"
    assert any(line.startswith("squeue ") for line in calls[calls.index(slurm.called("sbatch")[0]) : stopped])


async def test_a_lost_answer_is_looked_for_before_it_is_submitted_again(tmp_path: Path, slurm: Slurm) -> None:
    daemon, run = Daemon(), Run("j1", Epoch(2, 0))
    async with driving(tmp_path, slurm, daemon, poll_seconds=600.0, polls=0) as scene:
        (slurm.folder / "sbatch.fails").write_text("sbatch: error: Socket timed out on send/recv operation")
        daemon.desired = {"a": replica("a", run)}
        await scene.until(lambda: slurm.called("sbatch"))
        (slurm.folder / "squeue.says").write_text(f"7|PENDING||1|1|1|None|{comment_of(run)}\n")
        for number in range(3):
            polls, daemon.desired["b"] = scene.polls, NodeDesired("b", Epoch(5 + number, 0), ())
            await scene.until(lambda: scene.polls > polls)  # noqa: B023 - awaited here
    assert len(slurm.called("sbatch")) == 1


async def test_an_answer_that_is_lost_while_the_daemon_is_away_is_looked_for_too(tmp_path: Path, slurm: Slurm) -> None:
    daemon, run = Daemon(), Run("j1", Epoch(2, 0))
    async with driving(tmp_path, slurm, daemon, poll_seconds=600.0, polls=0) as scene:
        await scene.until(lambda: len(daemon.registered) == 2)
        (slurm.folder / "sbatch.fails").write_text("sbatch: error: Socket timed out on send/recv operation")
        daemon.hears_reports = False
        daemon.desired = {"a": replica("a", run)}
        await scene.until(lambda: slurm.called("sbatch"))
        (slurm.folder / "squeue.says").write_text(f"7|PENDING||1|1|1|None|{comment_of(run)}\n")
        await asyncio.sleep(0.2)  # until the poll has broken
        daemon.hears_reports = True
        for number in range(3):
            polls, daemon.desired["b"] = scene.polls, NodeDesired("b", Epoch(5 + number, 0), ())
            await scene.until(lambda: scene.polls > polls)  # noqa: B023 - awaited here
    assert len(slurm.called("sbatch")) == 1


async def test_no_answer_that_is_no_job_id_is_taken_for_a_refusal(tmp_path: Path, slurm: Slurm) -> None:
    daemon, run = Daemon(), Run("j1", Epoch(2, 0))
    async with driving(tmp_path, slurm, daemon, poll_seconds=600.0, polls=0) as scene:
        (slurm.folder / "sbatch.says").write_text("a plugin's greetings\n")
        daemon.desired = {"a": replica("a", run)}
        await scene.until(lambda: slurm.called("sbatch"))
        (slurm.folder / "squeue.says").write_text(f"7|PENDING||1|1|1|None|{comment_of(run)}\n")
        for number in range(3):
            polls, daemon.desired["b"] = scene.polls, NodeDesired("b", Epoch(5 + number, 0), ())
            await scene.until(lambda: scene.polls > polls)  # noqa: B023 - awaited here
    assert len(slurm.called("sbatch")) == 1


async def test_what_waits_for_others_to_leave_does_not_wait_for_ever(
    tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gang whose layout depends on the room, while there is always somebody who has just succeeded."""
    monkeypatch.setattr("allocator.slurm.bridge._HELD_BACK_SECONDS", 1.0)
    daemon, over, run = Daemon(), Run("j1", Epoch(2, 0)), Run("j2", Epoch(2, 1))
    (slurm.folder / "squeue.says").write_text(f"6|RUNNING|a|1|1|1|None|{comment_of(over)}\n")
    daemon.desired = {"a": replica("a", over)}
    exits_folder(tmp_path / "spool").mkdir(parents=True)
    async with driving(tmp_path, slurm, daemon) as scene:
        (exits_folder(tmp_path / "spool") / over.file_name).write_text("0\n")
        await scene.until(lambda: any(report.state is ReplicaState.SUCCEEDED for report in daemon.reports))
        several = tuple(replace(replica("a", run).replicas[0], replica=rank, replicas=3) for rank in range(3))
        wanted = {"a": several[:2], "b": several[2:]}
        daemon.desired = {name: NodeDesired(name, Epoch(3, 0), some) for name, some in wanted.items()}
        polls = scene.polls
        await scene.until(lambda: scene.polls > polls + 2)
        assert slurm.called("sbatch") == []
        await scene.until(lambda: slurm.called("sbatch"))


async def test_what_earlier_bridges_left_is_tidied_up(tmp_path: Path, slurm: Slurm) -> None:
    """Not before all nodes have said what they want, and not what printed or is still in Slurm's books."""
    daemon, gone, wanted, listed = Daemon(), *(Run(f"j{number}", Epoch(2, number)) for number in range(3))
    daemon.desired, daemon.mute = {"a": replica("a", wanted)}, {"b"}
    (slurm.folder / "squeue.says").write_text(f"6|COMPLETED|a|1|1|1|None|{comment_of(listed)}\n")
    spool = tmp_path / "spool"
    exits_folder(spool).mkdir(parents=True)
    for run in (gone, wanted, listed):
        (spool / f"{run.file_name}.started").mkdir()
        (spool / f"{run.file_name}.started.done").mkdir()
        for name in ("hosts", "log", "exit"):
            (spool / f"{run.file_name}.{name}").touch()
        (exits_folder(spool) / run.file_name).write_text("3\n")

    def left(run: Run) -> set[str]:
        here = {path.name.removeprefix(run.file_name) for path in spool.glob(f"{run.file_name}.*")}
        return here | {path.parent.name for path in spool.glob(f"exits/{run.file_name}")}

    everything = left(gone)
    async with driving(tmp_path, slurm, daemon) as scene:
        assert left(gone) == everything, "somebody may want it"
        daemon.mute = set()
        await scene.until(lambda: left(gone) == {".log"})
        await scene.polled()
    assert (left(wanted), left(listed)) == (everything, everything)


async def test_no_file_that_a_job_puts_where_its_end_belongs_stops_the_others(tmp_path: Path, slurm: Slurm) -> None:
    daemon = Daemon()
    runs = [Run(f"j{number}", Epoch(2, number)) for number in range(5)]
    daemon.desired = {"a": NodeDesired("a", Epoch(2, 0), tuple(replica("a", run).replicas[0] for run in runs))}
    lines = [f"{number}|COMPLETED|a|1|1|1|None|{comment_of(run)}\n" for number, run in enumerate(runs, 6)]
    (slurm.folder / "squeue.says").write_text("".join(lines))
    folder = exits_folder(tmp_path / "spool")
    folder.mkdir(parents=True)
    (folder / runs[0].file_name).mkdir()
    (folder / runs[1].file_name).symlink_to(folder / runs[1].file_name)
    os.mkfifo(folder / runs[2].file_name)
    (folder / runs[3].file_name).write_text("9" * 5000)
    (folder / runs[4].file_name).write_text("0\n")
    async with driving(tmp_path, slurm, daemon) as scene:
        await scene.until(lambda: len({report.job_id for report in daemon.reports}) == len(runs))
        ends = {report.job_id: report.exit_code for report in daemon.reports}
        assert ends == {run.job_id: int(run != runs[4]) for run in runs}
        daemon.desired = {"a": NodeDesired("a", Epoch(3, 0), ())}
        (slurm.folder / "squeue.says").write_text("")
        await scene.until(lambda: not list(folder.iterdir()))
        await scene.polled()


async def test_a_failure_that_slurm_has_not_told_of_may_be_the_nodes(tmp_path: Path, slurm: Slurm) -> None:
    daemon, run = Daemon(), Run("j1", Epoch(2, 0))
    daemon.desired = {"a": replica("a", run)}
    (slurm.folder / "squeue.says").write_text(f"6|RUNNING|a|1|1|1|None|{comment_of(run)}\n")
    async with driving(tmp_path, slurm, daemon) as scene:
        (exits_folder(tmp_path / "spool") / run.file_name).write_text("1\n")
        await scene.polled(4)
        assert {report.state for report in daemon.reports} == {ReplicaState.RUNNING}
        (slurm.folder / "squeue.says").write_text(f"6|FAILED|a|1|1|1|None|{comment_of(run)}\n")
        await scene.until(lambda: any(report.state is ReplicaState.FAILED for report in daemon.reports))


async def test_a_node_that_the_daemon_refuses_keeps_nobody_from_anything(tmp_path: Path, slurm: Slurm) -> None:
    daemon = Daemon()
    daemon.refused = {"a"}
    async with driving(tmp_path, slurm, daemon) as scene:
        await scene.polled()
        assert set(daemon.beats) == {"b"}
        daemon.refused = set()
        await scene.polled()
        assert set(daemon.beats) == {"a", "b"}


async def test_what_slurm_lost_with_its_node_may_begin_again(
    tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if Slurm takes no job for so long that it has forgotten the lost one."""
    monkeypatch.setattr("allocator.slurm.reconcile.MOST_LATE_SECONDS", 0.0)
    daemon, run = Daemon(), Run("j1", Epoch(2, 0))
    daemon.desired = {"a": replica("a", run)}
    begun = tmp_path / "spool" / f"{run.file_name}.started"
    begun.mkdir(parents=True)
    (begun / "0").touch()
    (slurm.folder / "squeue.says").write_text(f"6|NODE_FAIL|a|1|1|1|None|{comment_of(run)}\n")
    async with driving(tmp_path, slurm, daemon) as scene:
        await scene.until(lambda: slurm.called("sbatch"))
        (slurm.folder / "squeue.says").unlink()
        await scene.polled()
        asked = len(slurm.called("sbatch"))
        await scene.until(lambda: len(slurm.called("sbatch")) > asked)
    assert {report.state for report in daemon.reports} == {ReplicaState.RUNNING}


async def test_a_node_that_never_answered_keeps_no_job_from_being_stopped(tmp_path: Path, slurm: Slurm) -> None:
    daemon = Daemon()
    daemon.unknown = {"b"}
    slurm.nodes(a="IDLE", b="DOWN*")
    (slurm.folder / "squeue.says").write_text(f"6|PENDING||1|1|1|Resources|{comment_of(Run('j1', Epoch(2, 0)))}\n")
    async with driving(tmp_path, slurm, daemon) as scene:
        await scene.until(lambda: "scancel 6" in slurm.called("scancel"))
    assert set(daemon.beats) == {"a"}
