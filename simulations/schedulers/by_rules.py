"""A round by rules: look at the facts, serve whoever is to be served, and say what is different then."""

from __future__ import annotations

from abc import ABC, abstractmethod

from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory, Snapshot
from allocator.rounds.ports import Lap, Solver
from allocator.rounds.ruled import Ruled
from simulations.schedulers.occupancy import Occupancy


class ByRules(ABC):
    """A Decider. What it remembers between rounds is in its `occupancy`, or follows from it."""

    def __init__(self, occupancy: Occupancy) -> None:
        self.occupancy = occupancy

    def __call__(
        self,
        snapshot: Snapshot,
        memory: Memory,  # noqa: ARG002 - what our own rounds hand on
        policy: Policy,
        solver: Solver,  # noqa: ARG002 - there is no problem to solve
        lap: Lap,
    ) -> Ruled:
        self.occupancy.look(snapshot, policy)
        lap("formulate")
        again = self.serve(snapshot)
        lap("place")
        return self.occupancy.decision(again)

    @abstractmethod
    def serve(self, snapshot: Snapshot) -> float:
        """Start and stop jobs of the occupancy, which knows the snapshot already. When to be asked again if nothing
        happens before; inf: only when something does.
        """
