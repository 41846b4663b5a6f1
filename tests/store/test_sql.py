"""The durable store keeps the contract on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.store.sql import SqlStore
from tests.store.cluster import AnyStore, Reopen
from tests.store.contract import DurableContract


class SqlContract(DurableContract):
    """For a fixture `url` that names an empty database."""

    @pytest.fixture
    def opened(self) -> Iterator[list[SqlStore]]:
        """Stores to close at the end."""
        stores: list[SqlStore] = []
        yield stores
        for store in stores:
            store.close()

    @pytest.fixture
    def store(self, url: str, opened: list[SqlStore]) -> SqlStore:
        opened.append(SqlStore(url).open())
        return opened[0]

    @pytest.fixture
    def small_store(self, url: str, opened: list[SqlStore]) -> SqlStore:
        opened.append(SqlStore(url, receipt_retention_seconds=10.0, round_retention=2).open())
        return opened[0]

    @pytest.fixture
    def reopen(self, url: str, opened: list[SqlStore]) -> Reopen:
        def close_and_open(store: AnyStore) -> SqlStore:
            assert isinstance(store, SqlStore)
            store.close()
            opened.append(SqlStore(url).open())
            return opened[-1]

        return close_and_open

    def test_the_longest_lease_that_was_promised_is_known_after_a_restart(
        self, store: SqlStore, reopen: Reopen
    ) -> None:
        assert store.promised_lease() == 0.0
        revision = store.current_revision()
        for seconds in (45.0, 15.0):
            store.promise_lease(seconds)
            assert store.promised_lease() == seconds
        assert store.current_revision() == revision, "it is no fact that rounds see"
        again = reopen(store)
        assert isinstance(again, SqlStore)
        assert again.promised_lease() == 15.0


class TestSqlite(SqlContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/allocator.db"


class TestPostgres(SqlContract):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url
