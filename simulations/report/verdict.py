"""Who wins in what, by how much, and how sure that is: as a table of wins, and in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simulations.report.figures import STAY, UNFAIRNESS, Better, Figure, headlines, not_ended, time_figure
from simulations.report.significance import Interval
from simulations.report.variants import Comparison, Variant
from simulations.report.wording import between, by_how_much, listed, marked, written

SAME = 0.005
"""Figures that differ by a smaller part are called alike where nothing is known of chance."""


@dataclass(frozen=True, slots=True)
class Win:
    """The best of all in one figure. `alike`: those that could be as good; `ratio`: of the next one that is not alike,
    over the best (or of the best over it, where higher is better); None where there is no such one.
    """

    figure: Figure
    best: Variant
    value: float
    alike: tuple[Variant, ...]
    following: Variant | None
    ratio: Interval | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`time`: what tells how soon jobs end here; `front`: variants that no other beats in both that and fairness; None
    where it cannot be told.
    """

    sentences: tuple[str, ...]
    caveats: tuple[str, ...]
    wins: tuple[Win, ...]
    front: tuple[Variant, ...] | None
    time: Figure


def verdict(comparison: Comparison) -> Verdict:
    """Of one variant there is nothing to win: then it is told how it went."""
    summaries = [result.summary for result in comparison.results]
    time = time_figure(summaries)
    wins = tuple(win for figure in headlines(summaries) if (win := _win(comparison, figure)) is not None)
    front = pareto_front(comparison.variants, time)
    sentences, caveats = _sentences(comparison, wins, front, time), _caveats(comparison, time)
    return Verdict(tuple(sentences), tuple(caveats), wins, front, time)


def _win(comparison: Comparison, figure: Figure) -> Win | None:
    ranked = _ranked(comparison.variants, figure)
    if len(ranked) < 2:
        return None
    best, value = ranked[0]
    alike, following, ratio = [], None, None
    for other, _ in ranked[1:]:
        against = _against(best, other, figure)
        if _may_be_equal(best, other, figure, against):
            alike.append(other)
        elif following is None:
            following, ratio = other, against
    return Win(figure, best, value, tuple(alike), following, ratio)


def _ranked(variants: Sequence[Variant], figure: Figure) -> list[tuple[Variant, float]]:
    """Best first."""
    found = [(one, interval.mean) for one in variants if (interval := one.interval(figure)) is not None]
    return sorted(found, key=lambda each: each[1] if figure.better is Better.LOW else -each[1])


def _against(best: Variant, other: Variant, figure: Figure) -> Interval | None:
    """Of the worse over the better as figures go: above 1."""
    return other.ratio_to(best, figure) if figure.better is Better.LOW else best.ratio_to(other, figure)


def _may_be_equal(best: Variant, other: Variant, figure: Figure, ratio: Interval | None) -> bool:
    if ratio is None:  # a 0 among them: equal only if they are
        return sorted(best.values(figure)) == sorted(other.values(figure))
    return ratio.mean < 1 + SAME if ratio.low is None else ratio.low <= 1


def pareto_front(variants: Sequence[Variant], time: Figure) -> tuple[Variant, ...] | None:
    """Those that none beats in both at once, by their means, soonest first; None unless two have both figures."""
    points = []
    for one in variants:
        soon, error = one.interval(time), one.interval(UNFAIRNESS)
        if soon is not None and error is not None:
            points.append((soon.mean, error.mean, one))
    if len(points) < 2:
        return None
    return tuple(
        one
        for soon, error, one in sorted(points, key=lambda point: point[:2])
        if not any(t <= soon and e <= error and (t < soon or e < error) for t, e, _ in points)
    )


def _sentences(
    comparison: Comparison, wins: Sequence[Win], front: tuple[Variant, ...] | None, time: Figure
) -> Iterator[str]:
    by_name = {win.figure.name: win for win in wins}
    if len(comparison.variants) == 1:
        yield from _alone(comparison.variants[0])
    for figure, says in ((time, "ends jobs soonest"), (UNFAIRNESS, "is fairest between queues, hour by hour")):
        if figure.name in by_name:
            yield _told(comparison, by_name[figure.name], says)
    if front is not None:
        yield _front_told(comparison, front, time)


def _alone(only: Variant) -> Iterator[str]:
    shown = [
        f"{figure.name} {written(found.mean, figure.unit)}"
        for figure in headlines([result.summary for result in only.by_seed.values()])
        if (found := only.interval(figure)) is not None
    ]
    yield f"{marked(only.name)}: {'; '.join(shown)}."


def _told(comparison: Comparison, win: Win, says: str) -> str:
    figure = win.figure
    text = f"{marked(win.best.name)} {says}: {figure.name} {written(win.value, figure.unit)}"
    if win.alike:
        others = listed([marked(one.name) for one in win.alike])
        seeds = len(win.best.by_seed)
        text += f", and {seeds} seeds cannot tell it from {others}" if seeds > 1 else f", and so does {others}"
    if win.following is not None:
        text += f". {marked(win.following.name)} comes next" + _distance(win.following, win.ratio, figure)
        worst, value = _ranked(comparison.variants, figure)[-1]
        if worst is not win.following and worst not in win.alike:
            text += f"; {marked(worst.name)} is last, with {written(value, figure.unit)}"
    return text + "."


def _distance(other: Variant, ratio: Interval | None, figure: Figure) -> str:
    found = other.interval(figure)
    text = f" with {written(found.mean, figure.unit)}" if found is not None else ""
    if ratio is None:
        return text
    if figure.better is Better.HIGH:
        ratio = ratio.inverse
    return text + f", {by_how_much(ratio.mean)}{confidence(ratio)}"


def confidence(ratio: Interval) -> str:
    """` (95 % sure, seed by seed: 8 to 15 % higher, 5 seeds)`; nothing for one seed."""
    if ratio.low is None or ratio.high is None:
        return ""
    return f" (95 % sure, seed by seed: {between(ratio.low, ratio.high)}, {ratio.count} seeds)"


def _front_told(comparison: Comparison, front: tuple[Variant, ...], time: Figure) -> str:
    names = [marked(one.name) for one in front]
    beaten = [
        marked(one.name) for one in comparison.variants if one not in front and one.interval(UNFAIRNESS) is not None
    ]
    if len(front) == 1:
        text = f"By its means {names[0]} beats every other in both at once: it alone is on the front"
    else:
        both = f"{time.name.removeprefix('mean ')} against fairness error"
        text = f"By their means, on the front of {both} are {listed(names)}: none beats another in both"
    return text + (f". Behind it: {listed(beaten)}." if beaten and len(front) > 1 else ".")


def _caveats(comparison: Comparison, time: Figure) -> Iterator[str]:
    fewest = min(len(one.by_seed) for one in comparison.variants)
    if fewest == 1 and len(comparison.variants) > 1:
        yield "There is one seed only: how much of a difference is chance cannot be told."
    if not comparison.paired:
        yield "The variants have no seed in common: what differs may be the seeds, and not the variants."
    if comparison.left_out:
        count = len(comparison.left_out)
        yield f"Left out, because not every variant was replayed with their seeds: {count} of the replays."
    unfinished = [
        f"{marked(one.name)} ({written(part, _PART)})" for one in comparison.variants if (part := _not_ended(one)) > 0
    ]
    if unfinished:
        text = f"Of all jobs, these had not ended when the replay did: {listed(unfinished)}."
        if time is STAY:
            text += f" In the {STAY.name} they count with the time they had until then."
        yield f"{text} Other means are over jobs that started, or ended, and flatter who leaves many."


_PART = UNFAIRNESS.unit


def _not_ended(variant: Variant) -> float:
    """The most of any seed."""
    return max(not_ended(result.summary) for result in variant.by_seed.values())
