"""Desired state that reaches nodes late, or not at all: the Pusher of a replay in front of the simulated cluster.

Desired state is level-triggered: a message holds all that a node shall run, so whatever arrives next repairs what was
lost. A node whose message was lost notices after a while and asks; then it gets the newest state that was meant for it.
Messages that are overtaken by a newer one are dropped, as agents drop them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from allocator.domain.placement import Epoch, NodeDesired
from allocator.rounds.ports import Pusher
from simulations.agenda import Agenda
from simulations.conditions import Conditions
from simulations.draws import uniform

_STREAM = 2
"""Tells these draws from others of the same seed."""


class LatePusher:
    """Implements `allocator.rounds.ports.Pusher`; hands on to `cluster` what arrives, when it does."""

    def __init__(
        self, cluster: Pusher, agenda: Agenda, conditions: Conditions, nodes: Iterable[str], *, seed: int
    ) -> None:
        self.lost = 0
        """Messages that did not arrive."""
        self.sent = 0
        self._cluster = cluster
        self._agenda = agenda
        self._conditions = conditions
        self._seed = seed
        self._number = {name: number for number, name in enumerate(sorted(nodes))}
        self._newest: dict[str, NodeDesired] = {}
        self._arrived: dict[str, Epoch] = {}
        self._missing: set[str] = set()
        """Nodes that do not know the newest state meant for them."""

    @property
    def settled(self) -> bool:
        """Whether every node knows the newest state meant for it."""
        return not self._missing

    def mean(self, node: str, job_id: str, replica: int, epoch: Epoch) -> bool:
        """Whether the newest state meant for the node has this replica, decided then."""
        state = self._newest.get(node)
        return state is not None and any(
            (each.job_id, each.replica, each.epoch) == (job_id, replica, epoch) for each in state.replicas
        )

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        """Send; what is lost is asked for later."""
        now, delay = self._agenda.now, self._conditions.push_delay_seconds
        arriving, asked = [], []
        for state in desired:
            self.sent += 1
            self._newest[state.node] = state
            self._missing.add(state.node)
            number = self._number.setdefault(state.node, len(self._number))
            if uniform(self._seed, _STREAM, number, state.epoch.round) < self._conditions.push_loss:
                self.lost += 1
                asked.append(state.node)
            else:
                arriving.append(state)
        if arriving and delay:
            self._agenda.plan(now + delay, partial(self._deliver, tuple(arriving)))
        elif arriving:
            self._deliver(tuple(arriving))
        if asked:
            self._agenda.plan(now + delay + self._conditions.push_repair_seconds, partial(self._answer, tuple(asked)))

    def _answer(self, nodes: tuple[str, ...]) -> None:
        self._deliver(tuple(self._newest[node] for node in nodes if node in self._missing))

    def _deliver(self, states: tuple[NodeDesired, ...]) -> None:
        fresh = []
        for state in states:
            known = self._arrived.get(state.node)
            if known is not None and state.epoch < known:
                continue
            self._arrived[state.node] = state.epoch
            fresh.append(state)
            if self._newest[state.node].epoch == state.epoch:
                self._missing.discard(state.node)
        if fresh:
            self._cluster.push(tuple(fresh))
