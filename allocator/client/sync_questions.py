"""The part of the blocking client that asks why, and what would be if."""

from __future__ import annotations

from collections.abc import Iterable

from allocator.client import calls
from allocator.client.sync_sending import Sender
from allocator.explain.answers import JobExplanation, QueueExplanation
from allocator.explain.scarcity import LimitExplanation, LimitPrices, PriceExplanation
from allocator.whatif.answers import CapacityPlan, Change, Offer, Outcome
from allocator.wire.explanations import PastPrice


class Questions(Sender):
    """See `Client`."""

    def explain_job(
        self,
        job_id: str,
        *,
        estimate: bool = False,
        what_helps: bool = False,
        most_rounds: int = 0,
        timeout: float | None = None,
    ) -> JobExplanation:
        """Why a job is where it is, as of the last round. NotFound.

        `estimate`: also when it will start; `what_helps`: also what would change that. Both replay rounds, at most
        `most_rounds` each (0: as many as the daemon thinks right), which may take many seconds: give a `timeout`.
        """
        return self._call(
            calls.explain_job(job_id, estimate=estimate, what_helps=what_helps, most_rounds=most_rounds), timeout
        )

    def explain_queue(self, name: str, *, timeout: float | None = None) -> QueueExplanation:
        """Whether a queue gets its share, as of the last round. NotFound, FailedPrecondition before the first."""
        return self._call(calls.explain_queue(name), timeout)

    def explain_price(
        self,
        flavor: str,
        resource: str,
        *,
        one_more: bool = False,
        history: int = 0,
        timeout: float | None = None,
    ) -> tuple[PriceExplanation, tuple[PastPrice, ...]]:
        """A price, who pays it, with `one_more` what one more unit would bring; and what it was in the last `history`
        rounds, newest first. NotFound, FailedPrecondition before the first round.
        """
        return self._call(calls.explain_price(flavor, resource, one_more=one_more, history=history), timeout)

    def explain_limit(self, name: str, *, one_more: bool = False, timeout: float | None = None) -> LimitExplanation:
        """A limit, what is taken of it and who pays for it: of a side constraint, a floating resource, or a quota
        (`QUEUE:FLAVOR/RESOURCE`). NotFound, FailedPrecondition before the first round.
        """
        return self._call(calls.explain_limit(name, one_more=one_more), timeout)

    def limit_prices(self, *, timeout: float | None = None) -> LimitPrices:
        """Every limit and what is taken of it; prices of side constraints and of what lies in pieces, and who pays
        them. As of the last round, FailedPrecondition before it.
        """
        return self._call(calls.limit_prices(), timeout)

    def simulate(
        self,
        changes: Iterable[Change],
        *,
        job_ids: Iterable[str] = (),
        rounds: int = 0,
        timeout: float | None = None,
    ) -> Outcome:
        """What the next round would decide as things are, and with the changes (see `allocator.whatif.answers`).

        Jobs that are submitted among the changes are followed, and those with these ids; with `rounds`, so many more
        rounds are replayed to see when they start. Raises what the changes would raise.

            outcome = client.simulate([AddNodes("h100", 2)], job_ids=["j17"])
            print(outcome.after.summary.started - outcome.before.summary.started)
        """
        return self._call(calls.simulate(changes, job_ids, rounds), timeout)

    def plan_capacity(self, budget: float, offers: Iterable[Offer], *, timeout: float | None = None) -> CapacityPlan:
        """Which nodes to buy with a budget, in the unit of the offers' costs. InvalidInput.

        client.plan_capacity(100_000, [Offer("h100", 30_000), Offer("v100", 8_000)])
        """
        return self._call(calls.plan_capacity(budget, offers), timeout)
