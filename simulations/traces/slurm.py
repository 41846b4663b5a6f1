"""What `sacct --parsable2` prints of a Slurm cluster's jobs.

    JobID, Submit, Start, State                                    needed
    ElapsedRaw, Elapsed or End                                     one of them
    ReqTRES, AllocTRES, ReqCPUS, NCPUS or AllocCPUS                one of them
    Account, User, Partition, QOS; Eligible; TimelimitRaw (minutes), Timelimit; NNodes; ReqMem      read if there

in any order, with further columns, separated by |. The nodes are beside it, in a file with what `scontrol show nodes
--oneliner`, slurm.conf or `sinfo -N -o "%N|%c|%m|%G|%P"` says (`slurm_nodes`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from allocator.domain.bounds import MOST_SECONDS
from allocator.domain.errors import InvalidInput
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.queue import Queue
from simulations.traces import slurm_words as words
from simulations.traces.errors import TraceError
from simulations.traces.naming import Names
from simulations.traces.rows import MOST_JOBS, Row, read_rows, require_folder, shown
from simulations.traces.slurm_demands import Demands
from simulations.traces.slurm_nodes import Cluster, looks_like_nodes, read_nodes
from simulations.traces.text import head
from simulations.traces.window import EVERYTHING, Window
from simulations.workload import Arrival, Workload

COLUMNS = ("JobID", "Submit", "Start", "State")
RUN_COLUMNS = ("ElapsedRaw", "Elapsed", "End")
CPU_COLUMNS = ("ReqTRES", "AllocTRES", "ReqCPUS", "NCPUS", "AllocCPUS")
QUEUE_COLUMNS = {"account": "Account", "user": "User", "partition": "Partition", "qos": "QOS"}
TEXT_COLUMNS = ("JobName", "Comment", "AdminComment", "SystemComment", "WorkDir", "SubmitLine", "Reason")
"""What users write may hold a |."""
RUN_AGAIN = ("REQUEUED", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL")
"""Ends after which Slurm may start the job once more."""

NOTES = (
    "A job is a gang of one replica a node, with an even part of the CPUs, memory and GPUs it asked for, rounded up.",
    "Several replicas may be on one node. What it was given counts only where the log does not tell what it asked for.",
    "It may run on any node of its partition that has the GPU model it named: flavors are GPU models in partitions.",
    "Features, licences, exclusive use and dependencies are not read.",
    "A job arrives when it became eligible, if that is told, otherwise when it was submitted; times are taken as UTC.",
    "Run time is what elapsed; the time limit is the expected duration. What still ran ends when the log was taken.",
    "A CPU is what Slurm counts as one. Jobs are not preemptible. Nodes are those of now, all there all the time.",
    "Steps (12.batch) are parts of jobs. Tasks of arrays (12_3) and parts of mixed jobs (12+1) are jobs of their own.",
)


def read(
    path: Path,
    window: Window = EVERYTHING,
    *,
    restart_cost_seconds: float = 0.0,
    queue_by: str | None = None,
    machines: str | None = None,
) -> Workload:
    """Read a folder of logs with the nodes, or one log with the nodes beside it or in the file `machines`.

    `queue_by` is account, user, partition or qos; unless said, the first of these that the log has. Virtual time is
    seconds since the Unix epoch; the window counts from the first submission. Dropped are `never_started`, `requeued`
    (a run that Slurm repeated), `told_again` (in a second log), `no_run_time`, `partition_unknown`, `fits_no_node`,
    `asks_for_nothing`. Raises TraceError, InvalidInput for another `queue_by`.
    """
    if queue_by is not None and queue_by not in QUEUE_COLUMNS:
        raise InvalidInput.of("queue_by", f"must be one of {', '.join(QUEUE_COLUMNS)}; got {queue_by!r}")
    logs, listed = find_files(path)
    if machines is not None:
        listed = Path(machines)
    if listed is None:
        what = "has no nodes beside it: save `scontrol show nodes --oneliner` there, or name such a file as machines"
        raise TraceError(logs[0], what)
    cluster = read_nodes(listed)
    reader = _JobReader(cluster, restart_cost_seconds, queue_by)
    for log in logs:
        reader.read(log)
    if not reader.records:
        raise TraceError(logs[0], "has a header and no jobs")
    first, arrivals, dropped = reader.close(window)
    return Workload(
        name="slurm",
        start=first + window.start,
        nodes=cluster.nodes,
        queues=tuple(Queue(name) for name in sorted({a.spec.queue for a in arrivals} or {"unknown"})),
        arrivals=tuple(arrivals),
        notes=(
            *NOTES,
            f"Queues are the values of {reader.queue_column or 'nothing'}, each with weight 1.",
            f"{reader.steps:,} rows were steps; {reader.running:,} jobs still ran.",
            window.description,
            f"Stopping a job costs it {restart_cost_seconds:g} s of work.",
        ),
        dropped=dict(sorted(dropped.items())),
    )


def looks_like_jobs(text: str) -> bool:
    """Whether this is the beginning of what sacct prints."""
    columns = text.lstrip().partition("\n")[0].strip().split("|")
    return "JobID" in columns and len(columns) > 1


def find_files(path: Path) -> tuple[list[Path], Path | None]:
    """(logs in the order of their names, the list of nodes if there is one)."""
    if not path.is_file():
        require_folder(path, ("what sacct --parsable2 printed", "what scontrol show nodes --oneliner printed"))
    folder = path.parent if path.is_file() else path
    beginnings = {file: head(file) for file in sorted(folder.iterdir()) if file.is_file()}
    lists = [file for file, text in beginnings.items() if file != path and looks_like_nodes(text)]
    if len(lists) > 1:
        raise TraceError(folder, f"holds several lists of nodes; keep one of {', '.join(file.name for file in lists)}")
    logs = [path] if path.is_file() else [file for file, text in beginnings.items() if looks_like_jobs(text)]
    if not logs:
        raise TraceError(folder, "holds nothing that sacct --parsable2 printed: a header with JobID, separated by |")
    return logs, lists[0] if lists else None


def origin(path: Path) -> datetime:
    """The first submission. Raises TraceError."""
    logs, _ = find_files(path)
    rows = (row for log in logs for row in read_rows(log, COLUMNS, delimiter="|", repair=_repair(_header(log))))
    first = min((_said(row, "Submit", words.moment) for row in rows if "." not in row["JobID"]), default=None)
    if first is None:
        raise TraceError(logs[0], "has a header and no jobs")
    return datetime.fromtimestamp(first, UTC)


@dataclass(frozen=True, slots=True)
class _Record:
    """A row. Times in seconds since the Unix epoch; `found` is the job, or why it is dropped."""

    line: int
    log: int
    state: str
    submitted: float
    arrived: float
    started: float | None
    duration: float
    found: JobSpec | str


class _JobReader:
    """Turns rows into records, and these into arrivals once all are known."""

    def __init__(self, cluster: Cluster, restart_cost_seconds: float, queue_by: str | None) -> None:
        self.records: dict[str, list[_Record]] = {}
        self.steps = 0
        self.running = 0
        self.queue_column = ""
        self._again = 0
        self._log = 0
        self._demands = Demands(cluster)
        self._restart_cost_seconds = restart_cost_seconds
        self._queue_by = queue_by
        self._queues = Names()
        self._rows = 0

    def read(self, log: Path) -> None:
        columns = _header(log)
        if columns and set(COLUMNS) <= set(columns):  # otherwise reading the rows says what is wrong
            _require_one(log, columns, RUN_COLUMNS)
            _require_one(log, columns, CPU_COLUMNS)
            self._choose_queues(log, columns)
        self._log += 1
        for row in read_rows(log, COLUMNS, delimiter="|", repair=_repair(columns)):
            self._take(row)

    def _choose_queues(self, log: Path, columns: list[str]) -> None:
        if self._queue_by is None:
            self.queue_column = next((name for name in QUEUE_COLUMNS.values() if name in columns), "")
            return
        self.queue_column = QUEUE_COLUMNS[self._queue_by]
        _require_one(log, columns, (self.queue_column,))

    def _take(self, row: Row) -> None:
        name = row.text("JobID")
        if "." in name:
            self.steps += 1
            return
        if not name[0].isdecimal():
            raise row.error("JobID", f"must be such as 12, 12_3 or 12.batch, got {shown(name)}")
        record = self._record(row, name)
        known = self.records.setdefault(name, [])
        for index, before in enumerate(known):
            if before.submitted == record.submitted:
                if before.log == record.log:
                    what = f"{shown(name)} with this Submit stands on line {before.line} already; each job once"
                    raise row.error("JobID", what)
                known[index] = record
                self._again += 1
                return
        known.append(record)
        self._rows += 1
        if self._rows > MOST_JOBS:
            raise row.error("JobID", f"is one more than {MOST_JOBS:,} jobs; at most so many can be read: split the log")

    def _record(self, row: Row, name: str) -> _Record:
        state = row.text("State").split()[0].rstrip("+")
        if not state.replace("_", "").isalpha():
            raise row.error("State", f"must be a word such as COMPLETED, got {shown(row['State'])}")
        submitted = _said(row, "Submit", words.moment)
        eligible = None if row.get("Eligible") in words.NO_TIME else _said(row, "Eligible", words.moment)
        started = None if row["Start"] in words.NO_TIME else _said(row, "Start", words.moment)
        duration = _run_time(row, started)
        found: JobSpec | str
        if started is None or (not duration and state in ("PENDING", "CANCELLED")):
            found = "never_started"
        elif not duration:
            found = "no_run_time"
        else:
            ways = self._demands.ways(row)
            found = ways if isinstance(ways, str) else self._spec(row, name, ways)
        arrived = max(submitted, eligible or submitted)
        return _Record(row.line, self._log, state, submitted, arrived, started, duration, found)

    def _spec(self, row: Row, name: str, ways: tuple[Configuration, ...]) -> JobSpec:
        return JobSpec(
            self._queues[row[self.queue_column]] if self.queue_column else "slurm",
            ways,
            name,
            preemptible=False,
            restart_cost_seconds=self._restart_cost_seconds,
            expected_duration_seconds=_limit(row),
        )

    def close(self, window: Window) -> tuple[float, list[Arrival], Counter[str]]:
        """(the first submission, the arrivals inside the window in order of time, what is dropped of it by cause)."""
        first = min(record.submitted for records in self.records.values() for record in records)
        dropped = Counter({"told_again": self._again} if self._again else {})
        arrivals = []
        for name, records in self.records.items():
            records.sort(key=lambda record: record.submitted)
            for number, record in enumerate(records, start=1):
                started = None if record.started is None else record.started - first
                timing = window.cut(record.arrived - first, started, record.duration)
                if timing is None:
                    continue
                self.running += record.state == "RUNNING"
                if number < len(records) and record.state in RUN_AGAIN:
                    dropped["requeued"] += 1
                elif isinstance(record.found, str):
                    dropped[record.found] += 1
                else:
                    spec = record.found if number == 1 else replace(record.found, name=f"{name}#{number}")
                    arrivals.append(Arrival(first + timing[0], spec, timing[1]))
        arrivals.sort(key=lambda arrival: arrival.time)
        return first, arrivals, dropped


def _said(row: Row, column: str, understood: Callable[[str], float]) -> float:
    try:
        return understood(row.text(column))
    except ValueError as error:
        raise row.error(column, f"{error}; got {shown(row[column])}") from None


def _run_time(row: Row, started: float | None) -> float:
    """Seconds; 0 where it did not run."""
    if row.get("ElapsedRaw"):
        return row.seconds("ElapsedRaw")
    if row.get("Elapsed") not in words.NO_LIMIT:
        return _said(row, "Elapsed", words.duration)
    if started is None or row.get("End") in words.NO_TIME:
        return 0.0
    ended = _said(row, "End", words.moment)
    if ended < started:
        raise row.error("End", f"must not be before Start ({row['Start']}), got {shown(row['End'])}")
    return ended - started


def _limit(row: Row) -> float | None:
    """Seconds; None without a limit."""
    seconds = 0.0
    if row.get("TimelimitRaw") not in words.NO_LIMIT:
        seconds = row.number("TimelimitRaw") * 60
    elif row.get("Timelimit") not in words.NO_LIMIT:
        seconds = _said(row, "Timelimit", words.duration)
    return min(seconds, MOST_SECONDS) or None


def _header(log: Path) -> list[str]:
    first, end, _ = head(log).lstrip().partition("\n")
    first = first.strip()
    if first and end and "|" not in first and first.isprintable():
        what = f"is not separated by |: save it with sacct --parsable2; the line is {shown(first)}"
        raise TraceError(log, what, line=1)
    return first.split("|") if first else []


def _repair(columns: list[str]) -> Callable[[list[str]], list[str]] | None:
    """What mends rows in which the one text of users holds a |."""
    text = [name for name in TEXT_COLUMNS if name in columns]
    return partial(_joined, columns.index(text[0]), len(columns)) if len(text) == 1 else None


def _require_one(log: Path, columns: list[str], names: tuple[str, ...]) -> None:
    if not set(columns) & set(names):
        which = names[0] if len(names) == 1 else f"one of {', '.join(names)}"
        what = f"is missing; the header must name {which} and has {shown(', '.join(columns))}"
        raise TraceError(log, what, line=1, column=names[0])


def _joined(place: int, width: int, fields: list[str]) -> list[str]:
    """The fields of a row in which the text at `place` was taken apart at its |."""
    more = len(fields) - width
    if more <= 0:
        return fields
    return [*fields[:place], "|".join(fields[place : place + more + 1]), *fields[place + more + 1 :]]
