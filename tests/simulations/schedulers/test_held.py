"""Schedulers that keep count of the jobs from round to round know of those that were held, and are held no more."""

from __future__ import annotations

from dataclasses import replace

from allocator.domain.process import Condition, Dependency, Retries
from allocator.intake import commands as c
from allocator.store.memory import MemoryStore
from simulations.schedulers.roll import _differences
from tests.store.cluster import commit, do, set_up, spec, start, submit
from tests.store.contract_held import fail


def test_the_jobs_that_are_known_are_those_of_the_snapshot() -> None:
    store = MemoryStore()
    set_up(store)
    after = (Dependency("#0", Condition.ENDED),)
    job, _ = submit(store, replace(spec(), retries=Retries(1, 100.0)), replace(spec(), after=after))
    before = store.snapshot(1.0).jobs
    known = {each.id for each in before}
    commit(store, start(job, "n0"), now=5.0)
    fail(store, job, 10.0)
    steps = [(20.0, set()), (110.0, {"j1"}), (20.0, set()), (111.0, {"j1"})]
    for now, wanted in steps:
        snapshot = store.snapshot(now)
        changed, gone = _differences(before, snapshot)
        known = (known - set(gone)) | {each.id for each in changed}
        assert known == wanted == {each.id for each in snapshot.jobs}
        before = snapshot.jobs
    do(store, c.CancelJobs((job.id,)), 112.0)
    changed, gone = _differences(before, store.snapshot(112.0))
    assert ([each.id for each in changed], gone) == (["j2"], ["j1"])
