"""How wanted runs ended, as far as anybody knows: from what their scripts wrote, from Slurm's refusals, and from nobody
knowing anything of them. What Slurm saw itself it tells at the next poll; a success is read as soon as it is written.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

from allocator.engine.runs import Run
from allocator.intake.commands import ReplicaState
from allocator.slurm import reconcile
from allocator.slurm.gangs import Gang
from allocator.slurm.observed import SlurmJob
from allocator.slurm.reconcile import Ended
from allocator.slurm.spool import Spool

_MOST_REFUSALS = 5
"""Of one run: then it has failed. What Slurm says no to once it may take the next time, but hardly after that."""
_REFUSAL_SECONDS = 1.0
"""Refusals that come sooner after another are none more: it may be asked many times a second."""
_LOOK_SECONDS = 0.02
"""From look to look at the spool, at least."""
_LOOKING = 0.05
"""Part of the time that goes into looks at most: where each takes long, there are fewer."""
_LAST_WORDS_SECONDS = 10.0
"""So long after its success a run may still be in Slurm's books as running; then it is stopped like any other."""


class Outcomes:
    """Of the runs that are wanted when `refresh` is called. Raises OSError."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.ended: Mapping[Run, Ended] = {}
        self._looked_seconds = 0.0
        """How long the last look took."""
        self._under_way: tuple[Run, ...] = ()
        """Those that Slurm runs, on nodes that answer."""
        self._succeeded: dict[Run, float] = {}
        """When that was read, of runs that Slurm still has."""
        self._refused: dict[Run, tuple[int, str, float]] = {}
        """How often Slurm has refused a wanted run, its words, and when that was last counted."""
        self._vanished: dict[Run, float] = {}
        """Since when wanted runs that have begun are in nobody's books."""
        self._lost: frozenset[Run] = frozenset()
        """Wanted runs that Slurm lost with their nodes: those may begin again."""

    def refuse(self, run: Run, words: str) -> None:
        """Slurm did not take it."""
        now = time.monotonic()
        times, _, counted = self._refused.get(run, (0, "", -math.inf))
        if now - counted >= _REFUSAL_SECONDS:
            self._refused[run] = times + 1, words, now

    async def refresh(
        self, wanted: Mapping[Run, Gang], mine: Mapping[Run, SlurmJob], answering: frozenset[str]
    ) -> None:
        """All but successes of runs under way, which `look` finds. `mine`: Slurm's job of each run that has one;
        `answering`: nodes whose daemons do.
        """
        self._refused = {run: found for run, found in self._refused.items() if run in wanted}
        self._under_way = tuple(
            run
            for run in wanted
            if (job := mine.get(run)) is not None and job.is_live and job.nodes and answering.issuperset(job.nodes)
        )
        # runs that are wanted no more may still be in Slurm's books
        self._succeeded = {
            run: since for run, since in self._succeeded.items() if (job := mine.get(run)) is not None and job.is_live
        }
        read = await asyncio.to_thread(self._read, wanted, mine)
        succeeded = {run: found for run, found in self.ended.items() if run in wanted and _is_success(found)}
        self.ended = self._given_up() | read | succeeded

    async def look(self) -> bool:
        """Whether runs under way have succeeded meanwhile. Of those only: a failure may be their node's, which Slurm
        tells better.
        """
        began = time.monotonic()
        runs = [run for run in self._under_way if run not in self.ended]
        found = await asyncio.to_thread(self._successes, runs) if runs else {}
        self._succeeded |= dict.fromkeys(found, time.monotonic())
        if found:
            self.ended = {**self.ended, **found}
        self._looked_seconds = time.monotonic() - began
        return bool(found)

    async def rest(self) -> None:
        """Until the next look."""
        await asyncio.sleep(max(_LOOK_SECONDS, self._looked_seconds / _LOOKING))

    def leaving(self) -> frozenset[Run]:
        """Those that have succeeded and end by themselves, any moment."""
        since = time.monotonic() - _LAST_WORDS_SECONDS
        return frozenset(run for run, at in self._succeeded.items() if at >= since)

    def _successes(self, runs: list[Run]) -> dict[Run, Ended]:
        found = {}
        written = self._spool.exits()
        for run in runs:
            if run.file_name not in written:
                continue
            text = self._spool.exit_text(run)
            if text is not None and _is_success(ended := reconcile.written_end(text)):
                found[run] = ended
        return found

    def _read(self, wanted: Mapping[Run, Gang], mine: Mapping[Run, SlurmJob]) -> dict[Run, Ended]:
        """What their batch scripts wrote, of wanted runs that are not under way as far as anybody knows: Slurm cannot
        tell of those on nodes that do not answer, and of one that waits because the one before it was lost. There a
        success counts, but not a failure: it may be the node's. Or that they have begun, and wrote nothing.
        """
        found = {}
        lost = {run for run, job in mine.items() if job.state in reconcile.GONE_WITH_ITS_NODE}
        self._lost = (self._lost | lost) & wanted.keys()
        under_way = set(self._under_way)
        for run in wanted:
            if run in under_way:
                continue
            job = mine.get(run)
            text = self._spool.exit_text(run)
            if text is not None:
                ended = reconcile.written_end(text)
                if _is_success(ended) or not reconcile.may_be_lost(job):
                    found[run] = ended
            elif job is None and run not in self._lost and self._spool.has_begun(run):
                since = self._vanished.setdefault(run, time.monotonic())
                found[run] = reconcile.vanished(time.monotonic() - since)
        self._vanished = {run: since for run, since in self._vanished.items() if run in found}
        return found

    def _given_up(self) -> dict[Run, Ended]:
        """Runs that Slurm does not take: else they would hold their places, and wait, for ever."""
        return {
            run: Ended(ReplicaState.FAILED, f"Slurm refuses it: {words}")
            for run, (times, words, _) in self._refused.items()
            if times >= _MOST_REFUSALS
        }


def _is_success(ended: Ended) -> bool:
    return ended.state is ReplicaState.SUCCEEDED
