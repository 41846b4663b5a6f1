"""Runs the rounds in a thread of their own: one that breaks is logged, and the next one tries again."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence

import structlog

from allocator.daemon.clock import SystemClock
from allocator.domain.policy import Policy
from allocator.rounds.loop import run_rounds
from allocator.rounds.ports import Observer, Pusher, Solver, Store
from allocator.rounds.report import RoundOutcome, RoundReport

_MOST_PAUSE_SECONDS = 5.0
"""After a round that broke, however rare rounds are."""

log = structlog.stdlib.get_logger("allocator.rounds")


class Scheduler:
    """The production wiring of `run_rounds`. Nothing that a round raises can harm a running job or the intake."""

    def __init__(
        self,
        *,
        store: Store,
        pusher: Pusher,
        observers: Sequence[Observer],
        solver: Solver,
        policy: Callable[[], Policy],
        interval_seconds: float,
        minimum_interval_seconds: float = math.inf,
        on_broken_round: Callable[[], None],
    ) -> None:
        """`minimum_interval_seconds`: to a round that comes early because there is news; infinite: none does."""
        self.clock = SystemClock(minimum_interval_seconds)
        self._store = store
        self._pusher = pusher
        self._observers: list[Observer] = [RoundLog(), *(Guarded(observer) for observer in observers)]
        self._solver = solver
        self._policy = policy
        self._interval_seconds = interval_seconds
        self._on_broken_round = on_broken_round
        self._thread = threading.Thread(target=self._run, name="rounds", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let the round that is under way commit and push, then end. Returns when it has."""
        self.clock.stop()
        self._thread.join()

    def _run(self) -> None:
        while not self.clock.stopping:
            try:
                run_rounds(
                    store=self._store,
                    pusher=self._pusher,
                    clock=self.clock,
                    observers=self._observers,
                    solver=self._solver,
                    policy=self._policy,
                    interval=self._interval_seconds,
                )
            except Exception:  # whatever it was: running jobs and intake are not concerned, and rounds must go on
                pause = min(self._interval_seconds, _MOST_PAUSE_SECONDS)
                log.exception("round broken", next="the loop starts again", in_seconds=pause)
                self._tell_of_broken_round()
                self.clock.pause(pause)

    def _tell_of_broken_round(self) -> None:
        try:
            self._on_broken_round()
        except Exception:  # the next interval tries everything anew
            log.exception("could not repair after a broken round")


class Guarded:
    """An observer whose failure is logged instead of ending the rounds."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def observe(self, report: RoundReport) -> None:
        try:
            self._observer.observe(report)
        except Exception:  # observers can change nothing, so their failures change nothing either
            log.exception("observer failed", observer=type(self._observer).__name__)


class RoundLog:
    """One line per round that changed something or could not be trusted, and one when another policy is in force."""

    def __init__(self) -> None:
        self._policy: int | None = None

    def observe(self, report: RoundReport) -> None:
        summary = report.summary
        if self._policy not in (None, summary.policy_version):
            log.info("policy", version=summary.policy_version, origin="applied", first_round=summary.round)
        self._policy = summary.policy_version
        line = {
            "round": summary.round,
            "outcome": summary.outcome.value,
            "solver": summary.solver,
            "gap": float(f"{summary.gap:.3g}"),
            "started": summary.started,
            "moved": summary.moved,
            "preempted": sum(count for _, count in summary.preempted),
            "waiting": sum(count for _, count in summary.waiting),
            "kept": summary.kept,
            "rejected": summary.rejected,
            "seconds": round(sum(seconds for _, seconds in summary.stages), 4),
        }
        if summary.outcome in (RoundOutcome.STALE, RoundOutcome.FALLBACK):
            log.warning("round", attempts=report.solution.attempts, **line)
        elif report.plan.changes or summary.rejected:
            log.info("round", **line)
        else:
            log.debug("round", **line)
