"""The store without a disk keeps the contract, and can forget what has ended."""

from __future__ import annotations

import pytest

from allocator.domain.errors import NotFound
from allocator.intake import commands as c
from allocator.store.feed import Cursor
from allocator.store.memory import MemoryStore
from tests.store.cluster import do, set_up, spec, submit
from tests.store.contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def small_store(self) -> MemoryStore:
        return MemoryStore(receipt_retention_seconds=10.0, round_retention=2)


def test_final_jobs_can_be_forgotten() -> None:
    store = MemoryStore(keep_final=False)
    set_up(store)
    ended, live = submit(store, spec(), spec())
    do(store, c.CancelJobs((ended.id,)))
    with pytest.raises(NotFound):
        store.get_job(ended.id)
    assert store.list_jobs() == (live,)
    assert store.jobs_changed_since(Cursor()) != ()
