"""Fixtures for tests that talk to a server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.rpc.serving import Served, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as it:
        yield it
