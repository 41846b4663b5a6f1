"""What runs are held to: control groups and bandwidth of each, and the files of each job together."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable

from allocator.agent import records
from allocator.agent.bandwidth import Shaper
from allocator.agent.confinement import Confinement, Enclosure, Limits, Usage
from allocator.agent.disk import DiskUse
from allocator.agent.instructions import RunnerSettings
from allocator.agent.plan import Phase
from allocator.agent.records import Record
from allocator.domain.placement import DesiredReplica

_log = logging.getLogger(__name__)


class Holding:
    """Holds runs to what they may use; between `open` and `close` their files are counted."""

    def __init__(self, settings: RunnerSettings, confinement: Confinement, shaper: Shaper) -> None:
        self._settings = settings
        self._confinement = confinement
        self._shaper = shaper
        self._unremoved: set[str] = set()
        self._disk: DiskUse | None = None

    def open(self) -> None:
        """Begin to count files."""
        self._disk = DiskUse(self._settings.state, self._settings.disk_look_seconds)

    def close(self) -> None:
        """Count no more; control groups stay."""
        if self._disk is not None:
            self._disk.close()

    # --- one run

    def enclose(self, run_id: str) -> Enclosure:
        """Where its processes belong. Raises OSError."""
        return self._confinement.enclose(run_id)

    def limit(self, record: Record, enclosure: Enclosure) -> None:
        """As its replica is now. Raises OSError."""
        self._confinement.limit(record.run_id, self.limits(record.replica))
        self._limit_bandwidth(record, enclosure)

    def limit_as_far_as_possible(self, record: Record, enclosure: Enclosure) -> bool:
        """Whether all of its limits are in force: something that runs may not let itself be limited at once."""
        limited = True
        try:
            self._confinement.limit(record.run_id, self.limits(record.replica))
        except OSError as error:
            limited = False
            if record.limited:
                _log.warning("limits of run %s not yet in force: %s", record.run_id, error)
        try:
            self._limit_bandwidth(record, enclosure)
        except OSError as error:
            limited = False
            _log.warning("bandwidth of run %s not yet limited: %s", record.run_id, error)
        return limited

    def _limit_bandwidth(self, record: Record, enclosure: Enclosure) -> None:
        self._shaper.limit(record.number, enclosure.unified, record.replica.demand.bandwidth_bytes_per_second)

    def limits(self, replica: DesiredReplica) -> Limits:
        """Of its control group."""
        demand = replica.demand
        memory = demand.memory_bytes or self._settings.most_memory_bytes
        return Limits(demand.cpu_millicores, memory, self._settings.most_processes)

    def usage(self, run_id: str) -> Usage:
        """What its processes have used so far."""
        return self._confinement.usage(run_id)

    def release(self, record: Record) -> None:
        """Of a run that has ended."""
        with contextlib.suppress(OSError):
            self._shaper.remove(record.number)
        self.remove_groups(record.run_id)

    def remove_groups(self, run_id: str) -> None:
        """The kernel may need a moment until the last process is out: then it is tried again at the next look."""
        if self._confinement.remove(run_id):
            self._unremoved.discard(run_id)
        else:
            self._unremoved.add(run_id)

    # --- all of them

    def strangers(self, known: Iterable[str]) -> frozenset[str]:
        """Runs that have control groups, and are not `known`."""
        return frozenset(self._confinement.known() - set(known))

    def look(self, there: Iterable[Record]) -> None:
        """Do what can only be done after a while, and count the files of those that are there."""
        for run_id in list(self._unremoved):
            self.remove_groups(run_id)
        if self._disk is not None:
            self._disk.watch(self._disk_limits(there))

    def over_disk_limit(self, job_id: str, there: Iterable[Record]) -> int | None:
        """The bytes that the job's files may take together, if they took more when they were last counted."""
        if self._disk is None or job_id not in self._disk.over():
            return None
        return self._disk_limits(there).get(job_id, 0)

    def _disk_limits(self, there: Iterable[Record]) -> dict[str, int]:
        """Bytes by job: what its replicas here asked for together, but no more than is given to anybody."""
        asked: dict[str, int] = {}
        for record in there:
            replica = record.replica
            if record.phase is Phase.RUNNING and records.is_folder_name(replica.job_id):
                asked[replica.job_id] = asked.get(replica.job_id, 0) + replica.demand.disk_bytes
        most = self._settings.most_disk_bytes
        limits = {job_id: min(filter(None, (most, disk)), default=None) for job_id, disk in asked.items()}
        return {job_id: limit for job_id, limit in limits.items() if limit is not None}
