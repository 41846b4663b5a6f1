"""Both clients ask why, and get the same answers."""

from __future__ import annotations

import pytest

from allocator.client import AsyncClient, Client
from allocator.domain.errors import FailedPrecondition, NotFound
from allocator.intake import commands as c
from tests.builders import configuration, node, spec
from tests.client.conftest import QUICK
from tests.client.served import Served


async def test_both_clients_explain(served: Served) -> None:
    served.populate(("q",), (node("n1", gpu=1),))
    with Client(served.address, retry=QUICK) as client:
        with pytest.raises(FailedPrecondition):
            client.explain_queue("q")
        one = configuration(cpu=0)
        served.execute(c.SubmitJobs((spec("q", one, preemptible=False), spec("q", one))))
        served.round()
        served.clock.ahead += 10
        served.round()
        with pytest.raises(NotFound):
            client.explain_job("nope")
        job = client.explain_job("j2", estimate=True, what_helps=True, most_rounds=200)
        queue = client.explain_queue("q")
        limits = client.limit_prices()
        price, past = client.explain_price("a100", "gpu", one_more=True, history=1)
    assert job.what_helps is not None
    assert [found.change.nodes for found in job.what_helps.found] == [1]
    assert job.estimate is not None
    assert queue.actual_share == 1.0
    assert [each.round for each in past] == [2]
    assert (limits.round, limits.limits) == (2, ())
    async with AsyncClient(served.address, retry=QUICK) as waiting:
        again = await waiting.explain_job("j2", estimate=True, what_helps=True, most_rounds=200)
        assert again == job
        assert await waiting.explain_queue("q") == queue
        assert await waiting.explain_price("a100", "gpu", one_more=True, history=1) == (price, past)
        assert await waiting.limit_prices() == limits
