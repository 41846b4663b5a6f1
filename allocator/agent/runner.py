"""Runs of this machine: starts them, changes their limits, stops them, finds them again after the agent's restart.

Everything here is plain and blocking, for one thread. What a run does by itself (ending, being fenced) is in the hands
of its supervisor, so that it happens whether the agent lives or not.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from allocator.agent import instructions, progress, records, supervise, sweeping
from allocator.agent.bandwidth import Shaper
from allocator.agent.confinement import Confinement, Enclosure, Usage
from allocator.agent.endings import binary, failure_message, has_failed
from allocator.agent.hindrance import OF_THE_MACHINE, said
from allocator.agent.instructions import RunnerSettings
from allocator.agent.limits import Holding
from allocator.agent.plan import Action, Adjust, Begin, Forget, Phase, Run, Stop
from allocator.agent.progress import Meter, Progress
from allocator.agent.records import Record
from allocator.agent.sweeping import Sweeper
from allocator.domain.placement import DesiredReplica
from allocator.domain.process import Process
from allocator.intake.commands import ReplicaReport, ReplicaState

_log = logging.getLogger(__name__)

NOTHING_TO_RUN = "the job has nothing to run: it names no command"
_FOLDERS = (
    ("", 0o711), ("runs", 0o700), ("work", 0o711), ("output", 0o700), ("ended", 0o700), ("progress", 0o711),
)  # fmt: skip
"""In the state folder; those that others may pass through hold what is a job's own."""
_END_LOOK_SECONDS = 0.05
UNSAFE_NAME = "could not be started: the job's id cannot be the name of a folder"


@dataclass(slots=True)
class _Known:
    """A run with what of it lives in this process."""

    record: Record
    folder: Path
    enclosure: Enclosure = field(default_factory=Enclosure)
    descriptor: int | None = None
    """Of its supervisor."""
    child: subprocess.Popen[bytes] | None = None
    meter: Meter = field(default_factory=Meter)

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class Runner:
    """One per state folder; raises OSError (BlockingIOError) from `open` if another agent has it."""

    def __init__(self, settings: RunnerSettings, confinement: Confinement, shaper: Shaper) -> None:
        self._settings = settings
        self._holding = Holding(settings, confinement, shaper)
        self._known: dict[str, _Known] = {}
        self._boot = records.boot_id()
        self._next = 0
        self._lock = -1
        self._children: list[subprocess.Popen[bytes]] = []
        self._refusal = ""
        self._sweeper = Sweeper(settings.state, settings.keep_seconds, self._used)

    @property
    def settings(self) -> RunnerSettings:
        """As they were given."""
        return self._settings

    # --- the agent's own life

    def open(self) -> None:
        """Take the state folder, and find the runs that are in it."""
        state = self._settings.state
        for name, mode in _FOLDERS:
            (state / name).mkdir(parents=True, exist_ok=True)
            (state / name).chmod(mode)
        self._lock = records.locked(state)
        self._holding.open()
        self._next = (records.read_json(state / "counter.json") or {}).get("next", 0)
        for folder in sorted((state / "runs").iterdir()):
            record = records.load(folder)
            if record is None:
                _log.warning("run %s cannot be read and is removed", folder.name)
                sweeping.end_remains(folder, self._holding.enclose(folder.name))
                self._holding.remove_groups(folder.name)
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._next = max(self._next, record.number + 1)
            self._known[record.run_id] = self._adopted(_Known(record, folder))
        for run_id in self._holding.strangers(self._known):
            self._holding.remove_groups(run_id)
        for counted in (state / "progress").iterdir():
            if counted.name not in self._known:
                counted.unlink(missing_ok=True)
        self.look()

    def close(self) -> None:
        """Let go of everything; what runs goes on."""
        self._holding.close()
        for known in self._known.values():
            known.close()
        for child in self._children:
            child.poll()
            child.returncode = child.returncode or 0  # it is meant to outlive us
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _adopted(self, known: _Known) -> _Known:
        record = known.record
        if record.phase in {Phase.RUNNING, Phase.STOPPING} and record.boot == self._boot:
            known.enclosure = self._holding.enclose(record.run_id)
            self._limit(known)
            known.descriptor = records.supervisor(known.folder)
        return known

    # --- what there is

    def runs(self) -> tuple[Run, ...]:
        """In the order in which they began."""
        ordered = sorted((known.record for known in self._known.values()), key=lambda record: record.number)
        return tuple(Run(record.run_id, record.replica, record.phase) for record in ordered)

    def descriptors(self) -> dict[str, int]:
        """By run, what becomes readable when its supervisor ends."""
        return {run_id: k.descriptor for run_id, k in self._known.items() if k.descriptor is not None}

    def reports(self) -> tuple[ReplicaReport, ...]:
        """How every run is, as the daemon wants to hear it; not of those that it wants stopped."""
        found = []
        for known in self._known.values():
            record = known.record
            if record.phase is Phase.RUNNING:
                usage = self._holding.usage(record.run_id)
                found.append(_report(record, ReplicaState.RUNNING, usage.cpu_seconds, usage.peak_memory_bytes))
            elif record.phase is Phase.ENDED:
                state = ReplicaState.FAILED if has_failed(record) else ReplicaState.SUCCEEDED
                found.append(_report(record, state, record.cpu_seconds, record.peak_memory_bytes))
        return tuple(sorted(found, key=lambda report: (report.job_id, report.epoch, report.state.value)))

    def progress(self) -> tuple[Progress, ...]:
        """What was measured since the last call, of gangs whose rank 0 runs here."""
        found = []
        for known in self._known.values():
            replica = known.record.replica
            if known.record.phase is not Phase.RUNNING or replica.replica:
                continue
            work, age = progress.read(self._settings.state / "progress" / known.record.run_id)
            throughput = known.meter.note(replica.epoch, work, records.boot_time() - age)
            if throughput is not None:
                found.append(Progress(replica.job_id, replica.epoch, throughput))
        return tuple(found)

    def look(self) -> bool:
        """Take note of what has happened; whether a run has ended since."""
        self._children = [child for child in self._children if child.poll() is None]
        self._sweeper.look()
        self._holding.look(self._records())
        ended = False
        for known in list(self._known.values()):
            if known.record.phase in {Phase.RUNNING, Phase.STOPPING}:
                ended |= self._look_at(known)
        return ended

    def _look_at(self, known: _Known) -> bool:
        record = known.record
        exit_ = records.read_exit(known.folder)
        if exit_ is None and record.boot == self._boot and records.is_supervised(known.folder):
            self._look_at_limits(known)
            return False
        exit_ = exit_ or records.read_exit(known.folder)  # written since the first look
        usage = self._holding.usage(record.run_id) if record.boot == self._boot else Usage()
        if exit_ is None:
            exit_ = self._unseen_end(known)
        told = exit_["message"] or (records.read_json(known.folder / "stop.json") or {}).get("message", "")
        lost = record.phase is Phase.STOPPING or exit_["why"] in {"fenced", "terminated", "lost"}
        code = exit_["exit_code"]
        known.record = replace(
            record,
            phase=Phase.LOST if lost else Phase.ENDED,
            exit_code=code,
            message=failure_message(self._holding.limits(record.replica).memory_bytes, code, told, usage),
            cpu_seconds=usage.cpu_seconds,
            peak_memory_bytes=usage.peak_memory_bytes,
        )
        try:
            self._save(known, known.record)
        except OSError as error:  # a full disk, say: whoever comes after us finds out the same way
            _log.error("the end of run %s cannot be written down: %s", record.run_id, error)
        _log.info("run %s ended: %s, exit code %s %s", record.run_id, exit_["why"], code, known.record.message)
        known.close()
        self._holding.release(known.record)
        return True

    def _unseen_end(self, known: _Known) -> dict[str, Any]:
        """The run's supervisor is gone without a word."""
        if known.record.boot != self._boot:
            return {"exit_code": None, "why": "lost", "message": "the machine was started anew"}
        sweeping.end_remains(known.folder, known.enclosure)
        if not (known.folder / "started.json").exists():
            self._refusal = "a run ended before its command began"
            return {"exit_code": None, "why": "lost", "message": "it had not begun"}
        return {"exit_code": None, "why": "ended", "message": "its supervisor was killed, and it with it"}

    def _look_at_limits(self, known: _Known) -> None:
        record = known.record
        if not record.limited:
            self._limit(known)
        if record.phase is Phase.RUNNING and self._holding.usage(record.run_id).memory_kills:
            self._order(known, signal.SIGKILL, 0.0)  # half a job is worth nothing
        most = self._holding.over_disk_limit(record.replica.job_id, self._records())
        if record.phase is Phase.RUNNING and most is not None:
            why = f"killed: its files grew beyond its limit of {binary(most)} together"
            self._order(known, signal.SIGKILL, 0.0, why)

    def _records(self) -> Iterator[Record]:
        return (known.record for known in self._known.values())

    # --- what shall be

    def perform(self, action: Action) -> None:
        """Never raises for what is wrong with a job: that is the run's end then."""
        match action:
            case Begin():
                self._begin(action.replica)
            case Adjust():
                self._adjust(self._known[action.run_id], action.replica)
            case Stop():
                self._stop(self._known[action.run_id])
            case Forget():
                self._forget(self._known[action.run_id])

    def take_refusal(self) -> str:
        """Why the machine let something not begin since this was last asked; empty if nothing was so."""
        refusal, self._refusal = self._refusal, ""
        return refusal

    def renew(self, deadline: float, lease_seconds: float) -> None:
        """What the daemon said holds until `deadline`, in seconds since boot. Raises OSError."""
        path = self._settings.state / "lease.json"
        content = {"deadline": deadline, "lease_seconds": lease_seconds}
        try:
            records.write_json(path, content)
        except OSError:  # on a full disk there is room where it was before; who reads half of it looks again
            records.overwrite_json(path, content)

    def _begin(self, replica: DesiredReplica) -> None:
        number, self._next = self._next, self._next + 1
        safe = records.is_folder_name(replica.job_id)
        run_id = f"{replica.job_id}.{number}" if safe else f"run.{number}"
        known = _Known(Record(run_id, number, self._boot, replica), self._settings.state / "runs" / run_id)
        self._known[run_id] = known
        try:
            records.write_json(self._settings.state / "counter.json", {"next": self._next})
            known.folder.mkdir(mode=0o700)
            self._save(known, known.record)
            if replica.process is None or not safe:
                why = UNSAFE_NAME if replica.process is not None else NOTHING_TO_RUN
                self._save(known, replace(known.record, phase=Phase.ENDED, message=why))
            else:
                self._launch(known, replica.process)
        except (OSError, KeyError) as error:
            why = said(error, self._settings.state) if isinstance(error, OSError) else str(error)
            _log.warning("run %s could not be started: %s", run_id, why)
            if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
                self._refusal = why
                self._forget(known)
            else:
                self._save(known, replace(known.record, phase=Phase.ENDED, message=f"could not be started: {why}"))
                self._holding.release(known.record)

    def _launch(self, known: _Known, process: Process) -> None:
        record = known.record
        known.enclosure = self._holding.enclose(record.run_id)
        self._holding.limit(record, known.enclosure)
        with self._sweeper.beginning:
            given = instructions.write(self._settings, record, known.enclosure, process)
        self._save(known, given)
        lock = records.locked(known.folder)
        try:
            with (known.folder / "supervisor.log").open("ab") as log:
                known.child = subprocess.Popen(  # noqa: S603 - our own script, with a folder of ours
                    [sys.executable, "-I", "-S", supervise.__file__, str(known.folder), str(lock)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env={},
                    pass_fds=(lock,),
                    start_new_session=True,
                )
        finally:
            os.close(lock)
        self._children.append(known.child)
        with contextlib.suppress(OSError):  # it runs, whether we have a descriptor left or not
            known.descriptor = os.pidfd_open(known.child.pid)
        _log.info("run %s began: %s", record.run_id, process.command[0])

    def _adjust(self, known: _Known, replica: DesiredReplica) -> None:
        before, known.record = known.record.replica, replace(known.record, replica=replica)
        if known.record.phase is Phase.RUNNING and before.demand != replica.demand:
            self._limit(known)
        self._save(known, known.record)

    def _limit(self, known: _Known) -> None:
        limited = self._holding.limit_as_far_as_possible(known.record, known.enclosure)
        if limited != known.record.limited:
            self._save(known, replace(known.record, limited=limited))

    def _stop(self, known: _Known) -> None:
        process = known.record.replica.process
        assert process is not None, "only what has a process runs"
        try:
            self._save(known, replace(known.record, phase=Phase.STOPPING))
            self._order(known, process.checkpoint, process.grace_seconds)
        except OSError as error:  # a full disk, say, perhaps by this very run: its supervisor knows enough by itself
            _log.error("run %s is stopped, which cannot be written down: %s", known.record.run_id, error)
            self._tell_supervisor(known)

    def kill(self, run_id: str) -> None:
        """Grant no more grace to a run that is being stopped."""
        self._order(self._known[run_id], signal.SIGKILL, 0.0)

    def end_everything(self, most_seconds: float = 10.0) -> None:
        """Tell all that runs to end, with its grace but at most so many seconds, and wait until nothing is left."""
        for known in self._known.values():
            process = known.record.replica.process
            if known.record.phase is Phase.RUNNING and process is not None:
                self._save(known, replace(known.record, phase=Phase.STOPPING))
                self._order(known, process.checkpoint, min(process.grace_seconds, most_seconds))
        until = time.monotonic() + most_seconds
        while any(run.alive for run in self.runs()):
            self.look()
            if time.monotonic() > until:
                for run in self.runs():
                    if run.alive:
                        self.kill(run.id)
                until += most_seconds
            time.sleep(_END_LOOK_SECONDS)

    def _order(self, known: _Known, signal_: signal.Signals, grace_seconds: float, message: str = "") -> None:
        """`message`: why, for the job's owner."""
        order = {"signal": signal_.name, "grace_seconds": grace_seconds, "message": message}
        if known.record.phase is Phase.RUNNING and message and (known.folder / "stop.json").exists():
            return  # it was told already
        records.write_json(known.folder / "stop.json", order)
        self._tell_supervisor(known)

    def _tell_supervisor(self, known: _Known) -> None:
        """To look for an order; without one it stops its run as the job says."""
        if known.descriptor is None:
            known.descriptor = records.supervisor(known.folder)
        if known.descriptor is not None:  # one that has not begun yet finds the order by itself
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(known.descriptor, signal.SIGTERM)

    def _forget(self, known: _Known) -> None:
        known.close()
        self._holding.release(known.record)
        with contextlib.suppress(OSError):
            (self._settings.state / "progress" / known.record.run_id).unlink()
        sweeping.keep_record(self._settings.state, known.record)
        shutil.rmtree(known.folder, ignore_errors=True)
        if records.is_folder_name(known.record.replica.job_id):
            sweeping.drop_empty(self._settings.state, known.record.replica.job_id, known.record.run_id)
        del self._known[known.record.run_id]

    def _used(self) -> frozenset[str]:
        """Jobs whose folders are in use; for any thread."""
        return frozenset(known.record.replica.job_id for known in tuple(self._known.values()))

    def _save(self, known: _Known, record: Record) -> None:
        known.record = record
        records.save(known.folder, record)


def _report(record: Record, state: ReplicaState, cpu_seconds: float, peak_memory_bytes: int) -> ReplicaReport:
    replica = record.replica
    return ReplicaReport(
        replica.job_id,
        replica.replica,
        replica.epoch,
        state,
        record.message,
        record.exit_code,
        cpu_seconds,
        peak_memory_bytes,
    )
