"""Policies by the SDK, blocking and not."""

from __future__ import annotations

import pytest

from allocator.client import AsyncClient, Client
from allocator.domain.errors import FailedPrecondition, InvalidInput, NotFound
from allocator.policyfile import read
from tests.client.conftest import QUICK
from tests.client.served import Served

FILE = 'version = 1\n[objective]\nname = "drf"\n[[queue]]\nname = "q"\nweight = 2\n'


def test_check_apply_and_look(served: Served) -> None:
    served.populate(("q",))
    with Client(served.address, retry=QUICK) as client:
        assert client.policy().version == 0
        checked = client.check_policy(FILE.replace("drf", "drv"))
        assert [(mistake.line, mistake.column) for mistake in checked.mistakes] == [(3, 1)]
        made = client.apply_policy(FILE, expected_version=0, author="me", comment="why")
        assert (made.version, made.author, made.comment, made.sent_text) == (1, "me", "why", FILE)
        assert client.policy() == made
        assert client.queue("q").queue.weight == 2.0
        document = read(made.text).document
        assert document is not None
        assert document.policy.utility == "dominant-share"
        with pytest.raises(FailedPrecondition, match="version 1 is in force, and not 0"):
            client.apply_policy(FILE, expected_version=0)
        with pytest.raises(InvalidInput, match="text:1:1: version is missing"):
            client.apply_policy("[objective]")
        assert [record.version for record in client.policies()] == [1]
        with pytest.raises(NotFound):
            client.policy(2)


async def test_the_same_without_blocking(served: Served) -> None:
    served.populate(("q",))
    async with AsyncClient(served.address, retry=QUICK) as client:
        assert (await client.check_policy(FILE)).mistakes == ()
        made = await client.apply_policy(FILE, prune=True)
        assert (await client.policy(), await client.policy(1)) == (made, made)
        assert [record.version for record in await client.policies(1)] == [1]
