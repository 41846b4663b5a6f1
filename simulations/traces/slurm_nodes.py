"""The nodes of a Slurm cluster, from any of what its tools print.

`scontrol show nodes` (with or without --oneliner) and slurm.conf are lines of KEY=VALUE: NodeName, CPUTot or CPUs,
RealMemory (MiB), Gres (gpu:a100:4), Partitions; slurm.conf also has NodeName=DEFAULT and PartitionName with Nodes.
`sinfo -N -o "%N|%c|%m|%G|%P"` is a table: NODELIST, CPUS, MEMORY (MiB), GRES, PARTITION; its rows may repeat a node in
another partition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from allocator.domain.cluster import Node
from allocator.domain.resources import GPU_MILLIS, Resources
from simulations.traces import slurm_words as words
from simulations.traces.errors import TraceError
from simulations.traces.naming import Names
from simulations.traces.rows import MOST_NODES, Row, check_header, shown
from simulations.traces.text import NotText, head, opened

SINFO_COLUMNS = ("NODELIST", "CPUS", "MEMORY")
_PAIR = re.compile(r"(?:^|\s)([A-Za-z]+)=(\S*)")
_NO_GRES = ("", "(null)", "N/A", "none")


@dataclass(slots=True)
class Machine:
    """A node; `models` are those of its GPUs, "" where none is named."""

    name: str
    line: int
    cpus: int
    memory_mib: int
    models: dict[str, int]
    partitions: set[str] = field(default_factory=set)

    @property
    def capacity(self) -> Resources:
        return Resources(
            cpu_millicores=self.cpus * 1000,
            gpu_millis=sum(self.models.values()) * GPU_MILLIS,
            memory_bytes=self.memory_mib * words.MIB,
        )


@dataclass(frozen=True, slots=True)
class Flavor:
    """Nodes with the same GPU models in the same partitions; none: of all partitions."""

    models: frozenset[str]
    partitions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Cluster:
    nodes: tuple[Node, ...]
    flavors: dict[str, Flavor]

    @property
    def partitions(self) -> frozenset[str]:
        return frozenset().union(*(flavor.partitions for flavor in self.flavors.values()))


def looks_like_nodes(text: str) -> bool:
    """Whether this is the beginning of a list of nodes."""
    return bool(re.search(r"^[ \t]{0,8}NodeName=", text, re.MULTILINE)) or text.lstrip().startswith("NODELIST")


def read_nodes(file: Path) -> Cluster:
    """Raises TraceError."""
    reader = _Table(file) if head(file).lstrip().startswith("NODELIST") else _Pairs(file)
    try:
        with opened(file) as lines:
            for line in lines:
                reader.take(line, lines.number)
    except NotText as error:
        raise TraceError(file, error.what, line=error.line) from None
    machines = reader.machines()
    if not machines:
        what = "has no nodes; save `scontrol show nodes --oneliner`, slurm.conf or `sinfo -N -o '%N|%c|%m|%G|%P'` there"
        raise TraceError(file, what)
    return _cluster(file, machines)


def _cluster(file: Path, machines: Iterable[Machine]) -> Cluster:
    kinds: dict[Flavor, list[Machine]] = {}
    for machine in machines:
        kind = Flavor(frozenset(machine.models), frozenset(machine.partitions))
        kinds.setdefault(kind, []).append(machine)
    names = _flavor_names(kinds)
    nodes = []
    for kind, members in kinds.items():
        for machine in members:
            node = Node(machine.name, names[kind], machine.capacity)
            for violation in node.violations():
                raise TraceError(file, violation.description, line=machine.line, column="NodeName")
            nodes.append(node)
    return Cluster(
        tuple(sorted(nodes, key=lambda node: node.name)), dict(sorted((names[kind], kind) for kind in kinds))
    )


def _flavor_names(kinds: Iterable[Flavor]) -> dict[Flavor, str]:
    """The GPU model, or cpu; with the partitions where several flavors have it."""
    names = Names()
    ordered = sorted(kinds, key=lambda kind: (sorted(kind.models), sorted(kind.partitions)))
    models = [kind.models for kind in ordered]
    found = {}
    for kind in ordered:
        base = ".".join(model or "gpu" for model in sorted(kind.models)) or "cpu"
        several = models.count(kind.models) > 1
        found[kind] = names[f"{base}-{'-'.join(sorted(kind.partitions))}" if several else base]
    return found


class _Lines:
    """Nodes as they are told, each once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: dict[str, Machine] = {}

    def take(self, line: str, number: int) -> None:
        raise NotImplementedError

    def machines(self) -> list[Machine]:
        return list(self.found.values())

    def machine(self, name: str, row: Row, columns: tuple[str, str, str]) -> Machine:
        cpus, memory, gres = columns
        return Machine(
            name,
            row.line,
            row.integer(cpus, minimum=1, maximum=100_000),
            row.integer(memory, maximum=2**33) if row.get(memory) else 0,
            _models(row, gres),
        )

    def hosts(self, row: Row, column: str) -> list[str]:
        try:
            names = words.hosts(row.text(column))
        except ValueError as error:
            raise row.error(column, f"{error}; got {shown(row[column])}") from None
        if len(self.found) + len(names) > 2 * MOST_NODES:
            raise row.error(column, f"must not make more than {MOST_NODES:,} nodes altogether")
        return names


class _Pairs(_Lines):
    """Lines of KEY=VALUE; a node's may go on over several lines."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._pairs: dict[str, str] = {}
        self._line = 0
        self._defaults: dict[str, str] = {}
        self._members: list[tuple[str, list[str] | None]] = []

    def take(self, line: str, number: int) -> None:
        pairs = _PAIR.findall(line.partition("#")[0] if line.startswith("#") else line)
        if not pairs:
            return
        if pairs[0][0] in ("NodeName", "PartitionName") or not self._pairs:
            self._close()
            self._line = number
        for key, value in pairs:
            self._pairs.setdefault(key, value)

    def machines(self) -> list[Machine]:
        self._close()
        for partition, names in self._members:
            for name in self.found if names is None else names:
                if name in self.found:
                    self.found[name].partitions.add(partition)
        return super().machines()

    def _close(self) -> None:
        """What was told of one node, several alike, or a partition, is complete."""
        pairs, self._pairs = self._pairs, {}
        if pairs.get("NodeName") == "DEFAULT":
            self._defaults |= {key: value for key, value in pairs.items() if key != "NodeName"}
        elif "NodeName" in pairs:
            self._nodes(self._defaults | pairs)
        elif "PartitionName" in pairs and pairs["PartitionName"] != "DEFAULT" and "Nodes" in pairs:
            everyone = pairs["Nodes"] == "ALL"
            names = None if everyone else self.hosts(self._row(pairs), "Nodes")
            self._members.append((pairs["PartitionName"], names))

    def _nodes(self, pairs: dict[str, str]) -> None:
        row = self._row(pairs)
        if not row.get("CPUTot") and not row.get("CPUs"):
            threads = 1
            for key in ("Boards", "SocketsPerBoard", "Sockets", "CoresPerSocket", "ThreadsPerCore"):
                threads *= row.integer(key, minimum=1, maximum=10_000) if row.get(key) else 1
            pairs["CPUs"] = str(threads)
            row = self._row(pairs)
        if pairs.get("Gres", "") in _NO_GRES and "gres/gpu" in pairs.get("CfgTRES", ""):
            pairs["Gres"] = _gres_of_tres(pairs["CfgTRES"])
            row = self._row(pairs)
        columns = ("CPUTot" if row.get("CPUTot") else "CPUs", "RealMemory", "Gres")
        partitions = {each for each in row.get("Partitions").split(",") if each}
        for name in self.hosts(row, "NodeName"):
            if name in self.found:
                what = f"{name} stands on line {self.found[name].line} already; each node once, and ranges apart"
                raise row.error("NodeName", what)
            self.found[name] = machine = self.machine(name, row, columns)
            machine.partitions |= partitions

    def _row(self, pairs: dict[str, str]) -> Row:
        return Row(self.file, self._line, {key: index for index, key in enumerate(pairs)}, list(pairs.values()))


class _Table(_Lines):
    """Rows of sinfo, separated by | or blanks."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._columns: dict[str, int] = {}
        self._bar = False

    def take(self, line: str, number: int) -> None:
        if not line.strip():
            return
        self._bar = self._bar or (not self._columns and "|" in line)
        fields = [each.strip() for each in line.split("|")] if self._bar else line.split()
        if not self._columns:
            check_header(self.file, fields, SINFO_COLUMNS)
            self._columns = {name: index for index, name in enumerate(fields)}
            return
        if len(fields) != len(self._columns):
            what = f"has {len(fields)} fields; the header has {len(self._columns)} columns: {', '.join(self._columns)}"
            raise TraceError(self.file, what, line=number)
        row = Row(self.file, number, self._columns, fields)
        partition = row.get("PARTITION").rstrip("*")
        for name in self.hosts(row, "NODELIST"):
            self._member(name, row, partition)

    def _member(self, name: str, row: Row, partition: str) -> None:
        machine = self.machine(name, row, ("CPUS", "MEMORY", "GRES"))
        known = self.found.setdefault(name, machine)
        if known is not machine:
            if partition in known.partitions or not partition:
                what = f"{name} stands on line {known.line} already; each node once in a partition, and ranges apart"
                raise row.error("NODELIST", what)
            if known.capacity != machine.capacity:
                raise row.error("NODELIST", f"{name} has another size on line {known.line}; it must be the same")
        if partition:
            known.partitions.add(partition)


def _models(row: Row, column: str) -> dict[str, int]:
    text = row.get(column)
    if text in _NO_GRES:
        return {}
    try:
        return words.gpus(text)
    except ValueError as error:
        raise row.error(column, f"{error}; got {shown(text)}") from None


def _gres_of_tres(text: str) -> str:
    """cpu=64,gres/gpu=4,gres/gpu:a100=4 as gpu:a100:4."""
    counts = [part.partition("=") for part in text.split(",") if part.startswith("gres/gpu")]
    typed = [(name.removeprefix("gres/"), count) for name, _, count in counts if ":" in name]
    return ",".join(f"{name}:{count}" for name, count in typed or [("gpu", count) for _, _, count in counts])
