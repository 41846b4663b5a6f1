"""The whole report as one HTML document: everything in it, nothing fetched, and nothing that a name can break out of.

A policy in its head forbids any request. Every text from outside passes through `escape`. The same results give the
same bytes: no time of writing, no paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from simulations.report.drawing import COLOURS, drawn
from simulations.report.figures import Better, Figure, Unit, headlines, known
from simulations.report.plots import Numbers, Plot
from simulations.report.sections import Section
from simulations.report.variants import Comparison, Variant
from simulations.report.verdict import Verdict, Win, confidence
from simulations.report.wording import CLOSE, NOTHING, OPEN, by_how_much, give_or_take, listed, span, written
from simulations.schedulers import SCHEDULERS

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
POLICY_PREFIX = "policy."
QUEUES = 12
"""Most queues in a table."""
ABOUT_QUEUES = (
    "Shares are dominant shares, mean over the time in which the queue wants something; delay, slowdown and rho are "
    "means over its jobs."
)


def page(sections: Sequence[Section], version: str) -> str:
    """The document."""
    here = files("simulations.report")
    style, script = ((here / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    names = [section.comparison.name for section in sections]
    title = f"Replays of {listed(list(dict.fromkeys(names)))}"
    replays = sum(len(section.comparison.results) for section in sections)
    note = f"{replays:,} {_counted(replays, 'replay')}"
    if len(sections) > 1:
        note += (
            f" of {len(sections)} workloads. Each workload has its own part of this page: figures of different "
            "workloads cannot be compared."
        )
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title>",
            f"<style>{style}</style></head><body>",
            f'<header><h1>{escape(title)}</h1><button id="theme" type="button">Dark</button>',
            f"<p>{escape(note)}</p></header>",
            "<main>",
            *(_section(section) for section in sections),
            "</main>",
            f"<footer><p>Written by allocator {escape(version)}: python -m simulations report. Times are virtual.",
            "This file is complete: it needs no network.</p></footer>",
            f"<script>{script}</script></body></html>\n",
        )
    )


def _section(section: Section) -> str:
    comparison, found = section.comparison, section.verdict
    return "\n".join(
        (
            f"<section><h2>{escape(comparison.name)}</h2>",
            f'<p class="facts">{escape(_facts(comparison))}</p>',
            _verdict(found),
            _wins(found, comparison),
            _headline(comparison, found),
            _switches(section),
            f'<div class="plots split">{"".join(map(_plot, section.plots))}</div>',
            *_tables(comparison),
            _settings(comparison),
            "</section>",
        )
    )


def _facts(comparison: Comparison) -> str:
    workload = comparison.workload
    counts = sorted({int(result.summary["workload"]["jobs"]) for result in comparison.results})
    jobs = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    seeds = sorted({result.seed for result in comparison.results})
    versions = sorted({str(result.summary["versions"].get("allocator")) for result in comparison.results})
    return (
        f"{jobs} jobs on {workload['nodes']:,} nodes · {len(comparison.variants)} "
        f"{_counted(len(comparison.variants), 'variant')} · {_counted(len(seeds), 'seed')} "
        f"{_ranges(seeds)} · allocator {listed(versions)}"
    )


def _counted(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def _ranges(numbers: Sequence[int]) -> str:
    """`1 to 5, 9`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in parts)


def _verdict(found: Verdict) -> str:
    told = "".join(f"<p>{_emphasised(sentence)}</p>" for sentence in found.sentences)
    caveats = "".join(f'<p class="caveat">{_emphasised(sentence)}</p>' for sentence in found.caveats)
    return f'<div class="card verdict"><h3>Verdict</h3>{told}{caveats}</div>'


def _emphasised(sentence: str) -> str:
    """Escaped, with the names of variants in their own style."""
    return escape(sentence).replace(OPEN, "<b>").replace(CLOSE, "</b>")


def _wins(found: Verdict, comparison: Comparison) -> str:
    if not found.wins:
        return ""
    rows = "".join(
        f'<tr><th scope="row" title="{escape(win.figure.about, quote=True)}">{escape(win.figure.name)}</th>'
        f"<td>{_winner(win, comparison)}</td>{_margin(win, comparison)}</tr>"
        for win in found.wins
    )
    return (
        '<div class="card"><h3>Who wins in what</h3><table class="wins"><thead><tr><th scope="col">figure</th>'
        '<th scope="col">best</th><th scope="col">next</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _winner(win: Win, comparison: Comparison) -> str:
    value = f"<b>{escape(written(win.value, win.figure.unit))}</b> "
    if not win.alike:
        return value + _swatch(win.best, comparison)
    seeds = len(win.best.by_seed)
    if len(win.alike) == len(comparison.variants) - 1:
        what = f"no difference that {seeds} seeds could tell" if seeds > 1 else "no difference"
        return f"{value}<small>{what}</small>"
    others = "".join(f"<span>{_swatch(one, comparison)}</span>" for one in win.alike)
    what = f"{seeds} seeds cannot tell it from" if seeds > 1 else "as good:"
    return f"{value}{_swatch(win.best, comparison)} <small>{what} {others}</small>"


def _swatch(variant: Variant, comparison: Comparison) -> str:
    number = next(index for index, one in enumerate(comparison.variants) if one is variant)
    return f'{_key(number)}<span class="name">{escape(variant.name)}</span>'


def _margin(win: Win, comparison: Comparison) -> str:
    if win.following is None:
        return f'<td class="nobody">{NOTHING}</td>'
    found = win.following.interval(win.figure)
    text = f"<b>{escape(written(found.mean, win.figure.unit))}</b> " if found else ""
    text += _swatch(win.following, comparison)
    ratio = win.ratio.inverse if win.ratio is not None and win.figure.better is Better.HIGH else win.ratio
    if ratio is not None:
        text += f" <small>{escape(by_how_much(ratio.mean) + confidence(ratio))}</small>"
    return f"<td>{text}</td>"


def _headline(comparison: Comparison, found: Verdict) -> str:
    summaries = [result.summary for result in comparison.results]
    figures = [figure for figure in known(summaries) if figure in headlines(summaries)]
    best = {win.figure.name: {win.best.name, *(one.name for one in win.alike)} for win in found.wins}
    heads = "".join(
        f'<th scope="col" title="{escape(figure.about, quote=True)}">{escape(figure.name)}</th>' for figure in figures
    )
    rows = []
    for number, variant in enumerate(comparison.variants):
        cells = "".join(_figure_cell(variant, figure, found, best.get(figure.name, set())) for figure in figures)
        rows.append(
            f'<tr><th scope="row">{_key(number)}<span class="name">{escape(variant.name)}</span></th>{cells}</tr>'
        )
    several = any(len(variant.by_seed) > 1 for variant in comparison.variants)
    about = "Marked: the best, and what seeds cannot tell from it. Below each figure: against the best."
    if several:
        about += " ± is the 95 % confidence interval of the mean over seeds (Student's t)."
    table = _scrolled(
        f'<table class="figures"><thead><tr><th scope="col">variant</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>",
        "Main figures by variant",
    )
    return f'<div class="card"><h3>Main figures</h3><p class="about">{escape(about)}</p>{table}</div>'


def _figure_cell(variant: Variant, figure: Figure, found: Verdict, best: set[str]) -> str:
    interval = variant.interval(figure)
    if interval is None:
        return f"<td>{NOTHING}</td>"
    text = escape(give_or_take(interval.mean, interval.half_width, figure.unit))
    win = next((each for each in found.wins if each.figure is figure), None)
    note = ""
    if win is not None and win.value > 0:
        note = by_how_much(interval.mean / win.value)
    if win is not None and variant is win.best:
        note = "best"
    style = ' class="best"' if variant.name in best else ""
    return f"<td{style}>{text}<small>{escape(note)}</small></td>"


def _key(number: int) -> str:
    return f'<span class="key c{number % COLOURS}" aria-hidden="true"></span>'


def _scrolled(table: str, name: str) -> str:
    """A table in a box of its own that scrolls, so that the page does not."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name, quote=True)}">{table}</div>'


def _switches(section: Section) -> str:
    variants = section.comparison.variants
    if len(variants) < 2:
        return ""
    off = {number: "" if number in section.shown else ' data-start="off"' for number in section.drawn}
    buttons = "".join(
        f'<li><button type="button" aria-pressed="true" data-of="{number}"{off[number]}>'
        f"{_key(number)}{escape(variants[number].name)}</button></li>"
        for number in section.drawn
    )
    if any(off.values()):
        buttons += '<li class="hint">Press one to draw it, or not; those struck through are not drawn at first.</li>'
    return f'<ul class="switches" aria-label="Variants in the plots">{buttons}</ul>'


def _plot(plot: Plot) -> str:
    wide = " wide" if plot.wide else ""
    inside = "".join(map(drawn, plot.panels))
    panels = f'<div class="split">{inside}</div>' if plot.wide else inside
    return (
        f'<div class="card{wide}" id="{escape(plot.key, quote=True)}"><h3>{escape(plot.title)}</h3>'
        f'<p class="about">{escape(plot.about)}</p>{panels}'
        f"<details><summary>Numbers</summary>{_numbers(plot.numbers, plot.title)}</details></div>"
    )


def _numbers(numbers: Numbers, name: str) -> str:
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in numbers.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in numbers.rows
    )
    table = f'<table class="numbers"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return _scrolled(table, name)


def _tables(comparison: Comparison) -> Iterator[str]:
    for title, about, numbers in (
        ("By queue", ABOUT_QUEUES, _by_queue(comparison)),
        ("By size", "GPUs of all replicas together (cores, where no node has a GPU).", _by_size(comparison)),
        ("All figures", "Means over seeds ± 95 % confidence.", _all_figures(comparison)),
    ):
        if numbers.rows:
            yield (
                f'<div class="card"><h3>{title}</h3><p class="about">{escape(about)}</p>'
                f"<details><summary>Numbers</summary>{_numbers(numbers, title)}</details></div>"
            )


Cell = tuple[str, Callable[[Mapping[str, Any]], Any], Unit]

_TIMES: tuple[Cell, ...] = (
    ("mean delay", lambda found: found["wait_s"]["mean"], Unit.SECONDS),
    ("delay p95", lambda found: found["wait_s"]["p95"], Unit.SECONDS),
    ("mean completion", lambda found: found["completion_s"]["mean"], Unit.SECONDS),
    ("mean bounded slowdown", lambda found: found["bounded_slowdown"]["mean"], Unit.RATIO),
    ("mean rho", lambda found: found["rho"]["mean"], Unit.RATIO),
)
_SHARES: tuple[Cell, ...] = (
    ("jobs", lambda found: found["jobs"], Unit.COUNT),
    ("entitled to", lambda found: found["entitled_share"], Unit.PART),
    ("held", lambda found: found["held_share"], Unit.PART),
    ("held / entitled", lambda found: found["held_over_entitled"], Unit.RATIO),
)
_COUNT: tuple[Cell, ...] = (("jobs", lambda found: found["jobs"], Unit.COUNT),)


def _by_queue(comparison: Comparison) -> Numbers:
    jobs: dict[str, int] = {}
    for name, queue in comparison.variants[0].first.summary["queues"].items():
        jobs[name] = int(queue["jobs"])
    names = sorted(jobs, key=lambda name: -jobs[name])[:QUEUES]
    return _grouped(comparison, ("queues",), names, (*_SHARES, *_TIMES), "queue")


def _by_size(comparison: Comparison) -> Numbers:
    sizes = comparison.variants[0].first.summary["jobs"].get("by_size", {})
    return _grouped(comparison, ("jobs", "by_size"), list(sizes), (*_COUNT, *_TIMES), "size")


def _grouped(
    comparison: Comparison, path: tuple[str, ...], names: Sequence[str], cells: Sequence[Cell], noun: str
) -> Numbers:
    rows = []
    for name in names:
        for variant in comparison.variants:
            values = []
            for _, get, unit in cells:
                figure = [_looked_up(result.summary, (*path, name), get) for result in variant.by_seed.values()]
                there = [value for value in figure if value is not None]
                values.append(written(sum(there) / len(there), unit) if there else NOTHING)
            rows.append((f"{name}: {variant.name}", *values))
    return Numbers((f"{noun}: variant", *(head for head, _, _ in cells)), tuple(rows))


def _looked_up(
    summary: Mapping[str, Any], path: tuple[str, ...], get: Callable[[Mapping[str, Any]], Any]
) -> float | None:
    found: Any = summary
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    try:
        value = get(found)
    except (KeyError, TypeError):
        return None
    return None if value is None else float(value)


def _all_figures(comparison: Comparison) -> Numbers:
    figures = known([result.summary for result in comparison.results])
    rows = tuple(
        (
            figure.name,
            *(
                NOTHING if (found := variant.interval(figure)) is None
                else give_or_take(found.mean, found.half_width, figure.unit)
                for variant in comparison.variants
            ),
        )
        for figure in figures
    )  # fmt: skip
    return Numbers(("figure", *(variant.name for variant in comparison.variants)), rows)


def _settings(comparison: Comparison) -> str:
    names = sorted({name for variant in comparison.variants for name in variant.settings} - {"scheduler"})
    rows = tuple((variant.name, *(_setting(variant, name) for name in names)) for variant in comparison.variants)
    heads = (name.removeprefix(POLICY_PREFIX).replace("_seconds", ", s").replace("_", " ") for name in names)
    table = _numbers(Numbers(("variant", *heads), rows), "Settings that differ") if names else ""
    about = "Settings in which the variants differ; a dash: this scheduler does not look at it."
    about = f'<p class="about">{about}</p>{table}' if table else ""
    return (
        f'<div class="card"><h3>How it was replayed</h3>{about}<details>'
        f"<summary>Workload, settings and versions</summary><dl>{''.join(_terms(comparison))}</dl></details></div>"
    )


def _setting(variant: Variant, name: str) -> str:
    """A dash for what this scheduler does not look at: one that decides by rules reads no policy."""
    scheduler = str(variant.first.summary["run"].get("scheduler", ""))
    known_rules = scheduler in SCHEDULERS and SCHEDULERS[scheduler].by_rules
    if name.startswith(POLICY_PREFIX) and known_rules:
        return NOTHING
    return variant.settings.get(name, "").removesuffix(".0")


def _terms(comparison: Comparison) -> Iterator[str]:
    workload, first = comparison.workload, comparison.results[0].summary
    run = first["run"]
    yield _term("workload", f"{comparison.name}, {workload['nodes']:,} nodes")
    yield _term("assumptions", " ".join(workload.get("assumptions") or ["none"]))
    dropped = workload.get("dropped") or {}
    yield _term(
        "dropped by the reader", listed([f"{cause} {count:,}" for cause, count in dropped.items()] or ["nothing"])
    )
    yield _term("interval between rounds", span(float(run["interval_s"])) if run["interval_s"] else "after each event")
    for variant in comparison.variants:
        runs = ", ".join(
            f"seed {seed}: {result.summary['rounds']['count']:,} rounds, {result.summary['run']['ending']}"
            for seed, result in variant.by_seed.items()
        )
        yield _term(variant.name, runs)
    versions = first["versions"].items()
    yield _term("versions", ", ".join(f"{name} {version}" for name, version in versions))
    yield _term("settings of the first", ", ".join(_flat(run)))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            yield f"{prefix}{name} {value}"


def _term(name: str, text: str) -> str:
    return f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
