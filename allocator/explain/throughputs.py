"""What is known of how fast jobs run."""

from __future__ import annotations

from allocator.domain.estimates import learned
from allocator.domain.job import Job
from allocator.domain.snapshot import Snapshot
from allocator.explain.answers import JobThroughput


def throughputs_of(snapshot: Snapshot, job: Job) -> tuple[JobThroughput, ...]:
    """Where something was measured, or is not declared; nothing where there is nothing to compare with."""
    known = learned(snapshot.estimates)
    of_class, used = known.of_class(job.spec), known.throughputs(job)
    wrong = {(each.flavor, each.replicas) for each in known.misdeclared(job)}
    own = dict(job.measured_throughput)
    if not (of_class or own) and len(job.spec.configurations) == 1:
        return ()
    found = []
    for index, way in enumerate(job.spec.configurations):
        estimate = of_class.get((way.flavor, way.replicas))
        measured = job.throughput(way) if way.flavor in own else None if estimate is None else estimate.mean
        if way.throughput == 0 or (measured is None and way.declared):
            continue
        found.append(
            JobThroughput(
                index=index,
                declared=way.throughput if way.declared else None,
                measured=measured,
                observations=0.0 if estimate is None else estimate.count,
                uncertainty=0.0 if estimate is None else estimate.uncertainty,
                used=used[index],
                wrong=(way.flavor, way.replicas) in wrong,
            )
        )
    return tuple(found)
