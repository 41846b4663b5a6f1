"""A served cluster per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from allocator.client import Client, RetryPolicy
from tests.client.served import Served

QUICK = RetryPolicy(attempts=8, first_delay=0.02, longest_delay=0.2)


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    made.start()
    yield made
    made.close()


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.address, retry=QUICK) as made:
        yield made
