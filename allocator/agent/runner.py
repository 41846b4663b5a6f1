"""Runs of this machine: starts them, changes their limits, stops them, finds them again after the agent's restart.

Everything here is plain and blocking, for one thread. What a run does by itself (ending, being fenced) is in the hands
of its supervisor, so that it happens whether the agent lives or not.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from allocator.agent import instructions, records, supervise, sweeping
from allocator.agent.bandwidth import Shaper
from allocator.agent.confinement import Confinement, Enclosure, Limits, Usage
from allocator.agent.endings import failure_message, has_failed
from allocator.agent.instructions import RunnerSettings
from allocator.agent.plan import Action, Adjust, Begin, Forget, Phase, Run, Stop
from allocator.agent.records import Record
from allocator.domain.placement import DesiredReplica
from allocator.domain.process import Process
from allocator.intake.commands import ReplicaReport, ReplicaState

_log = logging.getLogger(__name__)

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
"""What may be the name of a folder."""
NOTHING_TO_RUN = "the job has nothing to run: it names no command"
_PRUNE_SECONDS = 3600.0
"""How often old folders are looked for."""
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

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class Runner:
    """One per state folder; raises OSError (BlockingIOError) from `open` if another agent has it."""

    def __init__(self, settings: RunnerSettings, confinement: Confinement, shaper: Shaper) -> None:
        self._settings = settings
        self._confinement = confinement
        self._shaper = shaper
        self._known: dict[str, _Known] = {}
        self._boot = records.boot_id()
        self._next = 0
        self._lock = -1
        self._unremoved: set[str] = set()
        self._prune_time = 0.0
        self._children: list[subprocess.Popen[bytes]] = []

    # --- the agent's own life

    def open(self) -> None:
        """Take the state folder, and find the runs that are in it."""
        state = self._settings.state
        for name, mode in (("", 0o711), ("runs", 0o700), ("work", 0o711), ("output", 0o700)):
            (state / name).mkdir(parents=True, exist_ok=True)
            (state / name).chmod(mode)
        self._lock = records.locked(state)
        self._next = (records.read_json(state / "counter.json") or {}).get("next", 0)
        for folder in sorted((state / "runs").iterdir()):
            record = records.load(folder)
            if record is None:
                _log.warning("run %s cannot be read and is removed", folder.name)
                sweeping.end_remains(folder, self._confinement.enclose(folder.name))
                self._confinement.remove(folder.name)
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._next = max(self._next, record.number + 1)
            self._known[record.run_id] = self._adopted(_Known(record, folder))
        for run_id in self._confinement.known() - self._known.keys():
            self._remove_groups(run_id)
        self.look()
        self._prune()

    def close(self) -> None:
        """Let go of everything; what runs goes on."""
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
            known.enclosure = self._confinement.enclose(record.run_id)
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
                usage = self._confinement.usage(record.run_id)
                found.append(_report(record, ReplicaState.RUNNING, usage.cpu_seconds, usage.peak_memory_bytes))
            elif record.phase is Phase.ENDED:
                state = ReplicaState.FAILED if has_failed(record) else ReplicaState.SUCCEEDED
                found.append(_report(record, state, record.cpu_seconds, record.peak_memory_bytes))
        return tuple(sorted(found, key=lambda report: (report.job_id, report.epoch, report.state.value)))

    def look(self) -> bool:
        """Take note of what has happened; whether a run has ended since."""
        self._children = [child for child in self._children if child.poll() is None]
        if records.boot_time() > self._prune_time:
            self._prune()
        for run_id in list(self._unremoved):
            self._remove_groups(run_id)
        ended = False
        for known in list(self._known.values()):
            if known.record.phase in {Phase.RUNNING, Phase.STOPPING}:
                ended |= self._look_at(known)
        return ended

    def _look_at(self, known: _Known) -> bool:
        record = known.record
        exit_ = records.read_json(known.folder / "exit.json")
        if exit_ is None and record.boot == self._boot and records.is_supervised(known.folder):
            self._look_at_limits(known)
            return False
        exit_ = exit_ or records.read_json(known.folder / "exit.json")  # written since the first look
        usage = self._confinement.usage(record.run_id) if record.boot == self._boot else Usage()
        if exit_ is None:
            exit_ = self._unseen_end(known)
        lost = record.phase is Phase.STOPPING or exit_["why"] in {"fenced", "terminated", "lost"}
        code = exit_["exit_code"]
        self._save(
            known,
            replace(
                record,
                phase=Phase.LOST if lost else Phase.ENDED,
                exit_code=code,
                message=failure_message(self._limits(record.replica).memory_bytes, code, exit_["message"], usage),
                cpu_seconds=usage.cpu_seconds,
                peak_memory_bytes=usage.peak_memory_bytes,
            ),
        )
        _log.info("run %s ended: %s, exit code %s %s", record.run_id, exit_["why"], code, known.record.message)
        known.close()
        self._release(known)
        return True

    def _unseen_end(self, known: _Known) -> dict[str, Any]:
        """The run's supervisor is gone without a word."""
        if known.record.boot != self._boot:
            return {"exit_code": None, "why": "lost", "message": "the machine was started anew"}
        sweeping.end_remains(known.folder, known.enclosure)
        if not (known.folder / "started.json").exists():
            return {"exit_code": None, "why": "lost", "message": "it had not begun"}
        return {"exit_code": None, "why": "ended", "message": "its supervisor was killed, and it with it"}

    def _look_at_limits(self, known: _Known) -> None:
        record = known.record
        if not record.limited:
            self._limit(known)
        if record.phase is Phase.RUNNING and self._confinement.usage(record.run_id).memory_kills:
            self._order(known, signal.SIGKILL, 0.0)  # half a job is worth nothing

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

    def renew(self, deadline: float, lease_seconds: float) -> None:
        """What the daemon said holds until `deadline`, in seconds since boot."""
        path = self._settings.state / "lease.json"
        records.write_json(path, {"deadline": deadline, "lease_seconds": lease_seconds})

    def _begin(self, replica: DesiredReplica) -> None:
        number, self._next = self._next, self._next + 1
        records.write_json(self._settings.state / "counter.json", {"next": self._next})
        safe = _JOB_ID.match(replica.job_id) is not None
        run_id = f"{replica.job_id}.{number}" if safe else f"run.{number}"
        folder = self._settings.state / "runs" / run_id
        folder.mkdir(mode=0o700)
        known = _Known(Record(run_id, number, self._boot, replica), folder)
        self._known[run_id] = known
        self._save(known, known.record)
        if replica.process is None or not safe:
            why = UNSAFE_NAME if replica.process is not None else NOTHING_TO_RUN
            self._save(known, replace(known.record, phase=Phase.ENDED, message=why))
            return
        try:
            self._launch(known, replica.process)
        except (OSError, KeyError) as error:
            said = str(error.strerror or error) if isinstance(error, OSError) else str(error)
            where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
            _log.warning("run %s could not be started: %s%s", run_id, said, where)
            self._save(known, replace(known.record, phase=Phase.ENDED, message=f"could not be started: {said}{where}"))
            self._release(known)

    def _launch(self, known: _Known, process: Process) -> None:
        record = known.record
        known.enclosure = self._confinement.enclose(record.run_id)
        self._confinement.limit(record.run_id, self._limits(record.replica))
        self._limit_bandwidth(known)
        instructions.write(self._settings, record, known.enclosure, process)
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
        known.descriptor = os.pidfd_open(known.child.pid)
        _log.info("run %s began: %s", record.run_id, process.command[0])

    def _adjust(self, known: _Known, replica: DesiredReplica) -> None:
        before = known.record.replica
        self._save(known, replace(known.record, replica=replica))
        if known.record.phase is Phase.RUNNING and before.demand != replica.demand:
            self._limit(known)

    def _limit(self, known: _Known) -> None:
        record = known.record
        limited = True
        try:
            self._confinement.limit(record.run_id, self._limits(record.replica))
        except OSError as error:
            limited = False
            if record.limited:
                _log.warning("limits of run %s not yet in force: %s", record.run_id, error)
        try:
            self._limit_bandwidth(known)
        except OSError as error:
            limited = False
            _log.warning("bandwidth of run %s not yet limited: %s", record.run_id, error)
        if limited != record.limited:
            self._save(known, replace(known.record, limited=limited))

    def _limits(self, replica: DesiredReplica) -> Limits:
        demand = replica.demand
        memory = demand.memory_bytes or self._settings.most_memory_bytes
        return Limits(demand.cpu_millicores, memory, self._settings.most_processes)

    def _limit_bandwidth(self, known: _Known) -> None:
        demand = known.record.replica.demand.bandwidth_bytes_per_second
        self._shaper.limit(known.record.number, known.enclosure.unified, demand)

    def _stop(self, known: _Known) -> None:
        process = known.record.replica.process
        self._save(known, replace(known.record, phase=Phase.STOPPING))
        assert process is not None, "only what has a process runs"
        self._order(known, process.checkpoint, process.grace_seconds)

    def kill(self, run_id: str) -> None:
        """Grant no more grace to a run that is being stopped."""
        self._order(self._known[run_id], signal.SIGKILL, 0.0)

    def _order(self, known: _Known, signal_: signal.Signals, grace_seconds: float) -> None:
        records.write_json(known.folder / "stop.json", {"signal": signal_.name, "grace_seconds": grace_seconds})
        if known.descriptor is None:
            known.descriptor = records.supervisor(known.folder)
        if known.descriptor is not None:  # one that has not begun yet finds the order by itself
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(known.descriptor, signal.SIGTERM)

    def _forget(self, known: _Known) -> None:
        known.close()
        self._release(known)
        shutil.rmtree(known.folder, ignore_errors=True)
        del self._known[known.record.run_id]
        if _JOB_ID.match(known.record.replica.job_id):
            sweeping.drop_empty(self._settings.state, known.record.replica.job_id, known.record.run_id)

    def _prune(self) -> None:
        used = frozenset(known.record.replica.job_id for known in self._known.values())
        sweeping.prune(self._settings.state, used, self._settings.keep_seconds)
        self._prune_time = records.boot_time() + _PRUNE_SECONDS

    def _release(self, known: _Known) -> None:
        with contextlib.suppress(OSError):
            self._shaper.remove(known.record.number)
        self._remove_groups(known.record.run_id)

    def _remove_groups(self, run_id: str) -> None:
        """The kernel may need a moment until the last process is out: then it is tried again at the next look."""
        if self._confinement.remove(run_id):
            self._unremoved.discard(run_id)
        else:
            self._unremoved.add(run_id)

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
