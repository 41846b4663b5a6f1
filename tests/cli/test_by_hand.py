"""The worked example of the market's documentation: its numbers, and what commands print about them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import allocator.market
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from tests.builders import configuration, node, spec
from tests.cli.conftest import Run
from tests.cli.transcripts import Transcript
from tests.client.served import Served

PAGE = Path(allocator.market.__file__).parent / "BY-HAND.md"
GPUS, JOBS = 8, 12
FAST, SLOW = configuration("a100", cpu=0), configuration("t4", cpu=0, throughput=0.5)
WAYS = {"vision": (FAST,), "speech": (SLOW,), "web": (FAST, SLOW)}


def begin(served: Served, wanting: Iterable[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds are at whole seconds, so that whoever has its turn has it in every run."""
    start = float(int(served.clock.now()))
    monkeypatch.setattr(served.clock, "now", lambda: start + served.clock.ahead)
    served.populate((), (node("n1", "a100", gpu=GPUS), node("n2", "t4", gpu=GPUS)))
    for name, weight in (("speech", 1.0), ("vision", 2.0), ("web", 1.0)):
        served.execute(c.CreateQueue(Queue(name, weight)))
    for name in wanting:
        submit(served, name)
    served.round()


def submit(served: Served, queue: str) -> None:
    served.execute(c.SubmitJobs(tuple(spec(queue, *WAYS[queue]) for _ in range(JOBS))))


def prices(run: Run) -> tuple[float, float]:
    """Of one GPU of a100 and of t4."""
    found = {(each["flavor"], each["resource"]): each["price"] for each in run("prices", "--json").json["prices"]}
    return found["a100", "gpu"], found["t4", "gpu"]


def gets(run: Run, queue: str, what: str = "optimum") -> list[float]:
    """GPUs of a100 and of t4."""
    found = {each["flavor"]: each[what] for each in run("explain", "queue", queue, "--json").json["amounts"]}
    return [found.get("a100", 0.0), found.get("t4", 0.0)]


def test_prices_and_budgets(served: Served, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(served, WAYS, monkeypatch)
    later(served, 90)
    shown = Transcript(run, PAGE)
    shown("prices")
    shown.pause()
    shown("explain", "queue", "web")
    shown.check("prices")
    assert prices(run) == pytest.approx((1 / 12, 1 / 24), rel=1e-3)
    assert gets(run, "vision") == pytest.approx([6, 0], rel=1e-3)
    assert gets(run, "speech") == pytest.approx([0, 6], rel=1e-3)
    assert gets(run, "web") == pytest.approx([2, 2], rel=1e-3)
    assert run("explain", "queue", "web", "--json").json["spends"] == pytest.approx(1 / 4, rel=1e-3)


def test_a_quota_that_is_lent_and_reclaimed(served: Served, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(served, ("vision", "speech"), monkeypatch)
    shown = Transcript(run, PAGE)
    shown("queues", "update", "web", "--quota", "a100/gpu=6")
    later(served, 1)
    shown("explain", "queue", "web")
    shown.check("lent")
    assert prices(run) == pytest.approx((1 / 12, 1 / 24), rel=1e-3)
    assert gets(run, "vision", "holds") == [8, 0]
    submit(served, "web")
    later(served, 90)
    shown = Transcript(run, PAGE)
    shown("explain", "queue", "web")
    shown.check("reclaimed")
    assert prices(run) == pytest.approx((1 / 12, 1 / 24), rel=1e-3)
    assert run("explain", "queue", "web", "--json").json["spends"] == pytest.approx(1 / 2, rel=1e-3)
    assert gets(run, "web") == pytest.approx([4, 4], rel=1e-2)
    assert gets(run, "vision") == pytest.approx([4, 0], rel=1e-2)
    assert gets(run, "speech") == pytest.approx([0, 4], rel=1e-2)
    assert gets(run, "vision", "holds")[0] < 8, "jobs of vision have made room"


def test_a_limit_that_binds_and_its_price(served: Served, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(served, WAYS, monkeypatch)
    shown = Transcript(run, PAGE)
    shown("queues", "update", "web", "--quota", "a100/gpu=0,borrow=1")
    later(served, 90)
    shown("explain", "queue", "web")
    shown.pause()
    shown("prices")
    shown.check("limit")
    assert prices(run) == pytest.approx((1 / 14, 1 / 20), rel=1e-3)
    assert gets(run, "vision") == pytest.approx([7, 0], rel=1e-3)
    assert gets(run, "speech") == pytest.approx([0, 5], rel=1e-3)
    assert gets(run, "web") == pytest.approx([1, 3], rel=1e-3)
    (limit,) = [
        each["limit_price"]
        for each in run("explain", "queue", "web", "--json").json["amounts"]
        if each["flavor"] == "a100"
    ]
    assert limit == pytest.approx(1 / 35, rel=1e-2)


def test_a_limit_on_power(served: Served, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy is the one that the page shows."""
    begin(served, WAYS, monkeypatch)
    ((policy,),) = [re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)]
    monkeypatch.chdir(tmp_path)
    Path("power.toml").write_text(policy, encoding="utf-8")
    shown = Transcript(run, PAGE)
    shown("policy", "apply", "power.toml")
    later(served, 90)
    shown("prices")
    shown.pause()
    shown("explain", "queue", "web")
    shown.check("power")
    assert prices(run) == pytest.approx((0, 1 / 40), rel=1e-3, abs=1e-6)
    assert gets(run, "vision") == pytest.approx([5, 0], rel=1e-3)
    assert gets(run, "speech") == pytest.approx([0, 5], rel=1e-3)
    assert gets(run, "web") == pytest.approx([1, 3], rel=1e-3)
    holds = [gets(run, queue, "holds") for queue in WAYS]
    assert sum(a100 * 0.4 + t4 * 0.1 for a100, t4 in holds) <= 3.2 + 1e-9


def later(served: Served, rounds: int) -> None:
    for _ in range(rounds):
        served.clock.ahead += 10
        served.round()
