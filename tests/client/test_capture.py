"""Records of rounds by both clients: kept as they came, and begun anew after a broken connection."""

from __future__ import annotations

import asyncio

from allocator.client import AsyncClient, Client
from allocator.wire.recording import CaptureBegin, CaptureDecoder, CapturedRound
from tests.builders import node, spec
from tests.client.conftest import QUICK
from tests.client.served import Served


def test_records_are_read_by_whoever_keeps_them(served: Served, client: Client) -> None:
    served.populate(("q",), (node(),))
    client.submit([spec()])
    records, decoder = client.capture_rounds(), CaptureDecoder()
    begin = next(records)
    assert (begin.kind, begin.round) == ("begin", 0)
    assert isinstance(decoder.read(begin.content), CaptureBegin)
    served.round()
    facts, seen = next(records), next(records)
    assert (facts.kind, seen.kind, seen.round) == ("facts", "round", 1)
    assert decoder.read(facts.content) is None
    found = decoder.read(seen.content)
    assert isinstance(found, CapturedRound)
    assert found.snapshot.time == seen.time
    assert [change.job_id for change in found.changes] == [job.id for job in found.snapshot.jobs]


def test_after_a_broken_connection_everything_begins_anew(served: Served, client: Client) -> None:
    served.populate(("q",), (node(),))
    records = client.capture_rounds()
    assert next(records).kind == "begin"
    served.stop()
    served.start()
    assert next(records).kind == "begin"


async def test_the_asynchronous_client_captures_too(served: Served) -> None:
    async with AsyncClient(served.address, retry=QUICK) as client:
        records = client.capture_rounds()
        assert (await anext(records)).kind == "begin"
        await asyncio.to_thread(served.round)
        assert (await anext(records)).kind == "round"
