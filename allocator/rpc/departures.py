"""What is leaving which node, and so which jobs may not begin elsewhere yet.

A job that is stopped on one node and placed anew on another must not begin there while its old replicas still write
their checkpoints. So whatever a commit takes off a node counts as leaving, until the node's agent says that it has seen
that and that nothing of it is left, or until the node is lost: then its lease is over, and its supervisors have stopped
what ran there. Desired states are shown to agents with the jobs that have to wait (`NodeDesired.waiting`).

Only in memory: after a restart every node that was ready may still run anything, until it has been heard of.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from allocator.domain.cluster import Node, NodeHealth
from allocator.domain.errors import NotFound
from allocator.domain.job import Job
from allocator.domain.placement import DesiredReplica, Epoch, JobStart, NodeDesired
from allocator.intake.commands import Command, Heartbeat, LoseNode, RegisterNode, RemoveNode
from allocator.rounds.ports import Pusher


class Facts(Protocol):
    """What has to be known of the store; answered from memory."""

    def nodes(self) -> tuple[Node, ...]: ...

    def get_node(self, name: str) -> Node: ...

    def live_job(self, job_id: str) -> Job | None:
        """None if it has ended, or there never was one."""
        ...

    def desired(self, node: str) -> NodeDesired: ...


class Departures:
    """Implements `rounds.ports.Pusher` in front of `pusher`, which is told again when jobs may begin.

    Whoever shows a desired state to an agent has it judged by `shown` at that moment. Agents that do not say what is
    leaving (`Heartbeat.seen` is None) are taken to have nothing that others must wait for. Methods may be called from
    any thread.
    """

    def __init__(self, facts: Facts, pusher: Pusher, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._facts = facts
        self._pusher = pusher
        self._lease_seconds = 0.0
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._told: dict[str, NodeDesired] = {}
        """By node, what was last pushed, unless that is nothing."""
        self._newest = Epoch(0, 0)
        """Of everything that was pushed: what was decided later is not known here yet."""
        self._leaving: dict[str, dict[JobStart, Epoch]] = {}
        """By node, what may still run there, and since when it shall not."""
        self._nodes: dict[str, set[tuple[str, Epoch]]] = {}
        """The same by job: nodes and starts."""
        self._unheard: dict[str, Epoch] = {}
        """Nodes that may run anything, and what has to be seen there before they are believed."""
        self._silent: set[str] = set()
        """Nodes whose agents do not say what is leaving."""
        self._removed: dict[str, float] = {}
        """Nodes that somebody removed while something was leaving, and when their leases are over."""
        self._waiting: defaultdict[str, set[str]] = defaultdict(set)
        """By job, the nodes that were shown that it waits."""

    def begin(self, lease_seconds: float) -> None:
        """Before anybody is shown anything: what earlier processes told the nodes. `lease_seconds`: for how long, at
        most, agents go on that nobody answers.
        """
        with self._lock:
            self._lease_seconds = lease_seconds
            for node in self._facts.nodes():
                desired = self._facts.desired(node.name)
                self._told[node.name] = desired
                self._newest = max(self._newest, desired.epoch)
                if node.health is NodeHealth.READY:
                    self._unheard[node.name] = desired.epoch

    # --- what is decided

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        """Take note of what leaves, of all nodes before any of them is told.

        Every commit has to come this way, in order: what it took off a node is not known otherwise.
        """
        with self._lock:
            for state in desired:
                self._note(state)
                self._newest = max(self._newest, state.epoch)
        self._pusher.push(desired)

    def _note(self, state: NodeDesired) -> None:
        before = self._told.pop(state.node, state)
        if state.replicas:
            self._told[state.node] = state
        here = set(map(id, state.replicas))  # most of them are the same objects
        gone = _starts(replica for replica in before.replicas if id(replica) not in here)
        if gone:
            gone -= _starts(state.replicas)
        for start in gone:
            if self._may_linger(state.node) and self._facts.live_job(start.job_id) is not None:
                self._add(state.node, start, state.epoch)

    def _may_linger(self, node: str) -> bool:
        """Not on a node that is lost: there nothing runs any more."""
        if node in self._silent:
            return False
        try:
            return self._facts.get_node(node).health is NodeHealth.READY
        except NotFound:  # removed, since this was decided
            self._removed[node] = self._lease_end()
            return True

    def _lease_end(self) -> float:
        """Of who is told from now on that nobody knows it."""
        return self._monotonic() + self._lease_seconds

    # --- what is heard

    def hear(self, command: Command) -> None:
        """Take note of a command that has taken effect."""
        with self._lock:
            match command:
                case Heartbeat():
                    freed = self._heartbeat(command)
                case LoseNode():
                    freed = self._empty(command.node)
                case RemoveNode():
                    self._silent.discard(command.node)
                    if command.node in self._leaving or command.node in self._unheard:
                        self._removed[command.node] = self._lease_end()
                    return
                case RegisterNode():
                    self._removed.pop(command.node.name, None)  # its agent has a lease again
                    return
                case _:
                    return
            self._tell(self._may_begin(freed))

    def expire(self) -> None:
        """Let go of nodes that were removed and whose leases are over by now. To be called now and then."""
        with self._lock:
            now = self._monotonic()
            over = [node for node, time_ in self._removed.items() if now > time_]
            self._tell(self._may_begin({job_id for node in over for job_id in self._empty(node)}))

    def _heartbeat(self, heartbeat: Heartbeat) -> set[str]:
        node, seen = heartbeat.node, heartbeat.seen
        if seen is None:
            self._silent.add(node)
            return self._empty(node)
        self._silent.discard(node)
        freed: set[str] = set()
        if node in self._unheard and seen >= self._unheard[node]:
            del self._unheard[node]
            freed |= self._freed_by_hearing()
        still = frozenset(heartbeat.leaving)
        known = self._leaving.get(node, {})
        for start in [start for start, since in known.items() if seen >= since and start not in still]:
            self._drop(node, start)
            freed.add(start.job_id)
        for start in still:
            if start not in known and self._facts.live_job(start.job_id) is not None:
                self._add(node, start, seen)
        return freed

    def _empty(self, node: str) -> set[str]:
        """Nothing is left there. Returns the jobs that may be concerned."""
        freed = {start.job_id for start in self._leaving.get(node, ())}
        for start in list(self._leaving.get(node, ())):
            self._drop(node, start)
        if self._unheard.pop(node, None) is not None:
            freed |= self._freed_by_hearing()
        self._removed.pop(node, None)
        return freed

    def _freed_by_hearing(self) -> set[str]:
        """Jobs that may be concerned by there being one node less that was not heard of: of itself a node knows."""
        if len(self._unheard) > 1:
            return set()
        last = next(iter(self._unheard), None)
        return {job_id for job_id, nodes in self._waiting.items() if last is None or last in nodes}

    def _add(self, node: str, start: JobStart, since: Epoch) -> None:
        self._leaving.setdefault(node, {})[start] = since
        self._nodes.setdefault(start.job_id, set()).add((node, start.start_epoch))

    def _drop(self, node: str, start: JobStart) -> None:
        del self._leaving[node][start]
        if not self._leaving[node]:
            del self._leaving[node]
        self._nodes[start.job_id].discard((node, start.start_epoch))
        if not self._nodes[start.job_id]:
            del self._nodes[start.job_id]

    # --- what may begin

    def shown(self, desired: NodeDesired) -> NodeDesired:
        """The desired state as its agent shall see it now."""
        with self._lock:
            # What was committed and is about to be pushed waits for that: only then is it known what leaves for it.
            waiting = {
                replica.job_id
                for replica in (desired.replicas if desired.epoch > self._newest else ())
                if replica.start_epoch > self._newest
            }
            if self._nodes or self._unheard:
                everybody = bool(self._unheard)
                concerned = [each for each in desired.replicas if everybody or each.job_id in self._nodes]
                for start in _starts(concerned):
                    if self._waits(start, desired.node):
                        self._waiting[start.job_id].add(desired.node)
                        waiting.add(start.job_id)
            is_awaited = desired.node in self._leaving or desired.node in self._unheard
        return replace(desired, waiting=frozenset(waiting), is_awaited=is_awaited) if waiting or is_awaited else desired

    def waiting_jobs(self) -> int:
        """How many jobs agents were shown to wait that still do."""
        with self._lock:
            return len(self._waiting)

    def _waits(self, start: JobStart, node: str) -> bool:
        """What ends on the node itself its agent sees, without anybody's help."""
        others = self._nodes.get(start.job_id, ())
        if any(other != node and earlier != start.start_epoch for other, earlier in others):
            return True
        others_unheard = len(self._unheard) > (node in self._unheard)
        return others_unheard and not self._is_first(start.job_id)

    def _is_first(self, job_id: str) -> bool:
        """Whether the job was started only once: then nothing of it can be left anywhere. Not all that ends a start is
        counted: a gang that a node in trouble gave back had begun on the others.
        """
        job = self._facts.live_job(job_id)
        if job is None:
            return True
        return job.first_start_time == job.last_start_time and job.preemption_count == 0 and job.failures == 0

    def _may_begin(self, job_ids: Iterable[str]) -> set[str]:
        """Nodes that were shown that one of these jobs waits, where it does not any more."""
        found = set()
        for job_id in job_ids:
            waiting = self._waiting.pop(job_id, set())
            if not self._unheard and job_id not in self._nodes:  # after a restart, these may be all jobs
                found |= waiting
                continue
            job = self._facts.live_job(job_id)
            start = None if job is None or job.allocation is None else JobStart(job_id, job.allocation.start_epoch)
            still = {node for node in waiting if start is not None and self._waits(start, node)}
            if still:
                self._waiting[job_id] = still
            found |= waiting - still
        return found

    def _tell(self, nodes: Iterable[str]) -> None:
        """What they were told, once more: who shows it judges it anew, and so what is newer by now."""
        states = [self._told[node] for node in sorted(nodes) if node in self._told]
        if states:
            self._pusher.push(tuple(states))


def _starts(replicas: Iterable[DesiredReplica]) -> set[JobStart]:
    return {JobStart(replica.job_id, replica.start_epoch) for replica in replicas}
