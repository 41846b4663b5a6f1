"""Workloads of the simulator Batsim: jobs that want so many of a number of identical machines.

    nb_res     number of machines
    jobs       id, subtime (s), res (machines wanted), walltime (s, the user's estimate; -1 or absent: none), profile
    profiles   by name: type "delay" with delay, the true run time in seconds

Other members are not read. Source: Dutot, Mercier, Poquet, Richard, "Batsim: a Realistic Language-Independent Resources
and Jobs Management Systems Simulator", JSSPP 2015-2016.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from allocator.domain.bounds import MOST_SECONDS
from allocator.domain.job import JobSpec
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from simulations.traces.errors import TraceError
from simulations.traces.gangs import CORE, Gangs, alike
from simulations.traces.jsontext import Document, Place, read_json
from simulations.traces.rows import MOST_JOBS, MOST_NODES, require_folder
from simulations.traces.window import EVERYTHING, Window
from simulations.workload import Arrival, Workload

QUEUE = "batsim"

NOTES = (
    "Each machine is a node of one core; a job is a gang of one replica of one core for each machine it wants.",
    "The walltime is the expected duration. A job whose delay is longer is stopped at its walltime, as Batsim does.",
    "Jobs are not preemptible, and all in one queue.",
)


def read(path: Path, window: Window = EVERYTHING, *, restart_cost_seconds: float = 0.0) -> Workload:
    """Read a workload, or the folder that holds exactly one. Raises TraceError.

    Virtual time is seconds since the start of the workload. Dropped are `profile_not_delay` (how long a job computes or
    communicates, Batsim finds out by simulating machines and networks), `no_run_time` and `fits_no_node`. Jobs have no
    recorded starts: a window's carry-in takes along none.
    """
    document = read_json(find_workload(path))
    content = document.mapping(document.content, ())
    count = document.integer(document.member(content, (), "nb_res"), ("nb_res",), minimum=1, maximum=MOST_NODES)
    nodes = tuple(alike("machine", count, Resources(cpu_millicores=CORE)))
    profiles = document.mapping(document.member(content, (), "profiles"), ("profiles",))
    jobs = document.entries(document.member(content, (), "jobs"), ("jobs",))
    if not 1 <= len(jobs) <= MOST_JOBS:
        raise document.error(("jobs",), f"must hold 1 to {MOST_JOBS:,} jobs, got {len(jobs):,}")
    dropped: Counter[str] = Counter()
    reader = _JobReader(document, profiles, Gangs(nodes), window, restart_cost_seconds)
    arrivals = []
    for index, job in enumerate(jobs):
        found = reader.taken(job, ("jobs", index))
        if isinstance(found, Arrival):
            arrivals.append(found)
        elif found:
            dropped[found] += 1
    return Workload(
        name=f"batsim {document.file.name.removesuffix('.gz').removesuffix('.json')}",
        start=window.start,
        nodes=nodes,
        queues=(Queue(QUEUE),),
        arrivals=tuple(sorted(arrivals, key=lambda arrival: arrival.time)),
        notes=(*NOTES, window.description, f"Stopping a job costs it {restart_cost_seconds:g} s of work."),
        dropped=dict(sorted(dropped.items())),
    )


def find_workload(path: Path) -> Path:
    """The file that is meant."""
    if path.is_file() or not path.exists():
        return path
    require_folder(path, ("one workload (.json)",))
    found = sorted(file for file in path.iterdir() if file.name.endswith((".json", ".json.gz")))
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found)
    raise TraceError(path, f"holds several workloads; name one of {names}" if found else "holds no workload (.json)")


class _JobReader:
    """Turns members of `jobs` into arrivals."""

    def __init__(
        self,
        document: Document,
        profiles: Mapping[str, Any],
        gangs: Gangs,
        window: Window,
        restart_cost_seconds: float,
    ) -> None:
        self._document = document
        self._profiles = profiles
        self._gangs = gangs
        self._window = window
        self._restart_cost_seconds = restart_cost_seconds
        self._seen: dict[str, int] = {}

    def taken(self, value: object, place: Place) -> Arrival | str:
        """The job, or why it is dropped; empty for one outside the window."""
        document = self._document
        job = document.mapping(value, place)
        name = self._name(document.member(job, place, "id"), (*place, "id"))
        submitted = document.number(document.member(job, place, "subtime"), (*place, "subtime"))
        machines = document.integer(document.member(job, place, "res"), (*place, "res"), minimum=1)
        walltime = self._walltime(job, place)
        delay = self._delay(job, place)
        timing = self._window.cut(submitted, None, delay or 0.0)
        if timing is None:
            return ""
        if delay is None:
            return "profile_not_delay"
        if delay <= 0:
            return "no_run_time"
        ways = self._gangs.ways(machines)
        if not ways:
            return "fits_no_node"
        spec = JobSpec(
            QUEUE,
            ways,
            name,
            preemptible=False,
            restart_cost_seconds=self._restart_cost_seconds,
            expected_duration_seconds=walltime,
        )
        return Arrival(timing[0], spec, delay if walltime is None else min(delay, walltime))

    def _name(self, value: object, place: Place) -> str:
        """Ids are numbers or text."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        name = str(value) if whole else self._document.string(value, place)
        before = self._seen.setdefault(name, int(place[1]))
        if before != place[1]:
            raise self._document.error(place, f"{name!r} is the id of jobs[{before}] already; each id once")
        return name

    def _walltime(self, job: Mapping[str, Any], place: Place) -> float | None:
        value = job.get("walltime", -1)
        if value == -1:
            return None
        return self._document.number(value, (*place, "walltime"), minimum=1e-9, maximum=MOST_SECONDS)

    def _delay(self, job: Mapping[str, Any], place: Place) -> float | None:
        """Seconds; None for profiles of another type."""
        document = self._document
        name = document.string(document.member(job, place, "profile"), (*place, "profile"))
        if name not in self._profiles:
            raise document.error((*place, "profile"), f"names {name!r}, which is none of the profiles")
        where: Place = ("profiles", name)
        profile = document.mapping(self._profiles[name], where)
        if document.member(profile, where, "type") != "delay":
            return None
        return document.number(document.member(profile, where, "delay"), (*where, "delay"))
