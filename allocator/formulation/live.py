"""The live jobs and their nodes as arrays, for whoever works on all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from allocator.domain.snapshot import Snapshot
from allocator.formulation.catalogue import Columns, ProfileColumns
from allocator.formulation.columns import JobColumns, Registry
from allocator.formulation.eligibility import Kind, open_nodes_of
from allocator.formulation.nodes import NodeArrays, node_arrays
from allocator.formulation.problem import Booleans, Integers


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """The live jobs (J, as in the snapshot) and their nodes as arrays, for whoever works on all of them. P pieces."""

    jobs: JobColumns
    nodes: NodeArrays
    piece_node: Integers
    """(P,) position in `nodes`; -1 where the node is gone."""
    profiles: ProfileColumns
    queues: tuple[str, ...]
    """By number in `profiles.queue`."""
    shapes: Columns
    """(S,) all shapes by number in `profiles.shape`."""
    kinds: tuple[Kind, ...]
    """By number in `shapes.kind`."""
    fits: Booleans
    """(kinds,) whether the kind could run on the nodes that take new work, if they were empty."""
    sequences: Mapping[str, int]
    """By id, of these jobs and of some that are gone."""

    @classmethod
    def of(cls, snapshot: Snapshot, registry: Registry) -> Live:
        """Everything there is now."""
        jobs, nodes = registry.columns(snapshot.jobs, snapshot.estimates), node_arrays(snapshot.nodes)
        catalogue = registry.catalogue
        positions = registry.positions(nodes)
        return cls(
            jobs=jobs,
            nodes=nodes,
            piece_node=positions[jobs.piece_node] if len(jobs.piece_node) else jobs.piece_node,
            profiles=catalogue.profile_columns,
            queues=tuple(catalogue.queues),
            shapes=catalogue.columns(np.arange(catalogue.shape_count)),
            kinds=catalogue.all_kinds,
            fits=catalogue.kinds_that_fit(open_nodes_of(snapshot.nodes)),
            sequences=registry.sequences,
        )

    @property
    def shape(self) -> Integers:
        """(J,) number of each job's shape."""
        return self.profiles.shape[self.jobs.profile]

    def positions(self, ids: Iterable[str]) -> Integers:
        """Where the jobs with these ids are; all must be there."""
        wanted = list(ids)
        sequences = np.array([self.sequences.get(job_id, 0) for job_id in wanted], dtype=np.int64)
        found = np.searchsorted(self.jobs.sequence, sequences).astype(np.int64)
        there = np.minimum(found, len(self.jobs.jobs) - 1)
        if wanted and self.jobs.ids[there].tolist() != wanted:  # another cluster had the same ids
            index = {job_id: position for position, job_id in enumerate(self.jobs.ids.tolist())}
            return np.array([index[job_id] for job_id in wanted], dtype=np.int64)
        return found

    def kind_now(self, chosen: Integers) -> Integers:
        """The kinds that these running jobs (positions) run in."""
        return self.shapes.kind[self.shape[chosen], self.jobs.configuration[chosen]]
