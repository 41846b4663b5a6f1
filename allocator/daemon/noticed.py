"""Log lines about jobs that run at another throughput than declared, and about missed deadlines: once per job."""

from __future__ import annotations

import numpy as np
import structlog

from allocator.domain.estimates import learned
from allocator.rounds.report import RoundReport

log = structlog.stdlib.get_logger("allocator.jobs")
MOST_LINES = 20
"""Per round; of what is beyond only the number is told."""


class Noticed:
    """An Observer: compares with what it noticed in the round before."""

    def __init__(self) -> None:
        self._misdeclared: set[int] = set()
        self._missed: set[int] = set()

    def observe(self, report: RoundReport) -> None:
        columns = report.formulation.live.jobs
        wrong = columns.sequence[np.flatnonzero(columns.misdeclared)].tolist()
        known = learned(report.snapshot.estimates)
        fresh = [sequence for sequence in wrong if sequence not in self._misdeclared]
        for sequence in fresh[:MOST_LINES]:
            job = columns.jobs[int(np.searchsorted(columns.sequence, sequence))]
            for each in known.misdeclared(job):
                log.warning(
                    "throughput misdeclared",
                    job=job.id,
                    queue=job.spec.queue,
                    job_class=job.spec.job_class,
                    flavor=each.flavor,
                    replicas=each.replicas,
                    declared=each.declared,
                    measured=float(f"{each.measured:.4g}"),
                )
        _tell_rest("throughputs misdeclared", len(fresh))
        missed = columns.sequence[report.formulation.promises.missed].tolist()
        late = [sequence for sequence in missed if sequence not in self._missed]
        for sequence in late[:MOST_LINES]:
            job = columns.jobs[int(np.searchsorted(columns.sequence, sequence))]
            log.warning("deadline missed", job=job.id, queue=job.spec.queue, deadline=job.spec.deadline)
        _tell_rest("deadlines missed", len(late))
        self._misdeclared, self._missed = set(wrong), set(missed)


def _tell_rest(what: str, count: int) -> None:
    if count > MOST_LINES:
        log.warning(what, more=count - MOST_LINES)
