"""A served cluster, and the command line called in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from allocator.__main__ import app
from tests.client.served import Served


@dataclass(frozen=True)
class Ran:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, self
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    made.start()
    yield made
    made.close()


@pytest.fixture
def run(served: Served) -> Run:
    """`run("jobs", "--json")`: the command, told where the served cluster is."""

    def call(*args: str, stdin: str | None = None, address: str | None = None) -> Ran:
        where = served.address if address is None else address
        result = CliRunner(env={"ALLOCATOR_ADDRESS": where, "TZ": "UTC"}).invoke(app, list(args), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return call
