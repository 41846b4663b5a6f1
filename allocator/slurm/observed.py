"""Nodes and jobs as Slurm's own commands print them, as values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

MIB = 2**20
JOB_FORMAT = "%A|%T|%N|%C|%m|%D|%r|%k"
"""Of `squeue -o`: id, state, nodes, cores, memory, number of nodes, why it waits, comment (last: it may hold a |)."""
_PAIR = re.compile(r"(?:^|\s)([A-Za-z/:]+)=(\S*)")
_MOST_HOSTS = 100_000
_UNREACHABLE = frozenset(("DOWN", "FAIL", "FUTURE", "UNKNOWN", "ERROR", "POWERED_DOWN", "NOT_RESPONDING", "NO_RESPOND"))
_CLOSED = frozenset(("DRAIN", "DRAINED", "DRAINING", "MAINT", "RESERVED", "PLANNED", "REBOOT"))


@dataclass(frozen=True, slots=True)
class SlurmNode:
    """One node; `gpus` by model ("" where none is named). What is in use is in use by anybody."""

    name: str
    cpus: int
    memory_mib: int
    gpus: tuple[tuple[str, int], ...]
    used_cpus: int
    used_memory_mib: int
    used_gpus: int
    partitions: tuple[str, ...]
    features: tuple[str, ...]
    states: frozenset[str]

    @property
    def gpu_count(self) -> int:
        return sum(count for _, count in self.gpus)

    @property
    def answers(self) -> bool:
        """Whether its daemon does."""
        return not self.states & _UNREACHABLE

    @property
    def takes_new_work(self) -> bool:
        return self.is_open(frozenset())

    def is_open(self, planned_for_us: frozenset[str]) -> bool:
        """Whether it takes new work, where Slurm plans nodes for our own jobs, too."""
        closed = _CLOSED - {"PLANNED"} if self.name in planned_for_us else _CLOSED
        return self.answers and not self.states & closed


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """One job of the user who asked."""

    id: str
    state: str
    nodes: tuple[str, ...]
    reason: str
    comment: str

    @property
    def is_live(self) -> bool:
        """Whether Slurm still has something to do for it; a state that is new to us counts as such."""
        return self.state not in _ENDED


_ENDED = frozenset(
    (
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY"),
        *("BOOT_FAIL", "DEADLINE", "REVOKED"),
    )
)


def nodes_of(text: str) -> tuple[SlurmNode, ...]:
    """From `scontrol show nodes --oneliner`. Lines that are no node's are passed over."""
    return tuple(_node(dict(_PAIR.findall(line))) for line in text.splitlines() if line.startswith("NodeName="))


def _node(pairs: dict[str, str]) -> SlurmNode:
    allocated = _tres(pairs.get("AllocTRES", ""))
    return SlurmNode(
        pairs["NodeName"],
        _number(pairs.get("CPUEfctv") or pairs.get("CPUTot", "0")),
        _number(pairs.get("RealMemory", "0")),
        _gpus(pairs.get("Gres", "")),
        _number(pairs.get("CPUAlloc", "0")),
        _number(pairs.get("AllocMem", "0")),
        _number(allocated.get("gres/gpu", "0")),
        tuple(sorted(_words(pairs.get("Partitions", "")))),
        tuple(sorted(_words(pairs.get("ActiveFeatures", "")))),
        frozenset(part.rstrip("*~#!%$@^-").upper() for part in _states(pairs.get("State", ""))),
    )


def _states(text: str) -> Iterator[str]:
    """IDLE+DRAIN, and DOWN* (not responding) as two."""
    for part in text.split("+"):
        yield part
        if part.endswith("*"):
            yield "NOT_RESPONDING"


def jobs_of(text: str) -> tuple[SlurmJob, ...]:
    """From `squeue --noheader -o JOB_FORMAT`."""
    found = []
    for line in text.splitlines():
        fields = line.split("|", 7)
        if len(fields) == 8:
            job_id, state, nodes, _, _, _, reason, comment = fields
            found.append(SlurmJob(job_id, state, hosts(nodes), reason, comment))
    return tuple(found)


def hosts(text: str) -> tuple[str, ...]:
    """The names in gpu[01-04,7],login1; what cannot be read is one name."""
    names: list[str] = []
    for part in _outside_brackets(text.strip()):
        pieces = [piece for piece in re.split(r"(\[[^\]]*\])", part) if piece]
        choices = [list(_numbers(piece[1:-1])) if piece.startswith("[") else [piece] for piece in pieces]
        if pieces:
            names += ["".join(chosen) for chosen in product(*choices)]
        if len(names) > _MOST_HOSTS:
            break
    return tuple(names)


def _outside_brackets(text: str) -> Iterator[str]:
    depth, start = 0, 0
    for place, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and not depth:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _numbers(text: str) -> Iterator[str]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if dash and first.isdecimal() and last.isdecimal() and int(last) - int(first) < _MOST_HOSTS:
            yield from (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))
        else:
            yield part


def _gpus(text: str) -> tuple[tuple[str, int], ...]:
    """gpu:a100:4(S:0-1),gpu:2 by model."""
    found: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", text).split(","):
        pieces = part.split(":")
        if pieces[0] != "gpu":
            continue
        count = int(pieces.pop()) if pieces[-1].isdecimal() else 1
        model = pieces[1].lower() if len(pieces) > 1 else ""
        found[model] = found.get(model, 0) + count
    return tuple(sorted(found.items()))


def _tres(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(","))
    return {name: amount for name, _, amount in pairs}


def _words(text: str) -> list[str]:
    return [] if text in ("", "(null)") else text.split(",")


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
