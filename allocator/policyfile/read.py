"""Reads a policy file: everything that is wrong with it at once, each mistake with line and column, or what it says.

The server and the command line read with this same function, so that what was checked is what is applied. What the file
leaves out has the default of `domain.policy.Policy`, never what was in force before: the same file always means the
same.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any

from allocator.domain.applied_policy import MOST_POLICY_TEXT, PolicyDocument
from allocator.domain.objectives import NORMALISED_THROUGHPUT, UTILITIES, objective_of
from allocator.domain.policy import Policy
from allocator.domain.priority_class import BUILT_IN, PriorityClass
from allocator.domain.quantities import parse_amount
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import FIELD_BY_RESOURCE
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.policyfile import fields as f
from allocator.policyfile.positions import Path, Positions
from allocator.policyfile.tables import MOST_HINTS, Remark, Remarks, Table

VERSION = 1
_WISHES = "a limit is never broken; what would rather be had goes into the objective: weights, priorities, [objective]"
_WISHFUL = dict.fromkeys(("soft", "penalty", "weight", "priority", "prefer", "wish", "target", "least", "min"), _WISHES)
_QUOTA_WORDS = {"quotas": "quota", "borrowing_limit": "borrow", "lending_limit": "lend"}
_LIMIT_WORDS = {"terms": "term", "most_part": "most"}
_SYNTAX = re.compile(
    r"(?P<what>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)\Z", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Reading:
    """`document` is None exactly if there are `mistakes`. `warnings` are what may well be meant, and often is not."""

    document: PolicyDocument | None
    mistakes: tuple[Remark, ...]
    warnings: tuple[Remark, ...]
    where: Positions


def read(text: str) -> Reading:
    """The file's content, judged."""
    nowhere = Positions("")
    if len(text) > MOST_POLICY_TEXT:
        much = Remark(1, 1, "", f"must be at most {MOST_POLICY_TEXT} characters, got {len(text)}")
        return Reading(None, (much,), (), nowhere)
    try:
        content = tomllib.loads(text)
        where = Positions(text)
    except tomllib.TOMLDecodeError as error:
        return Reading(None, (_syntax(str(error), text),), (), nowhere)
    except RecursionError:
        return Reading(None, (Remark(1, 1, "", "is nested too deeply"),), (), nowhere)
    wrong, odd = Remarks(where), Remarks(where)
    document = _File(Table(content, (), wrong), odd).document()
    if not wrong.found:
        for violation in document.violations():  # everything was judged where it stands: this is a net below
            wrong.add((), str(violation))
    return Reading(None if wrong.found else document, wrong.in_order(), odd.in_order(), where)


def _syntax(message: str, text: str) -> Remark:
    found = _SYNTAX.match(message)
    if found is None:
        return Remark(1, 1, "", f"is not valid TOML: {message}")
    line, column = found["line"], found["column"]
    if line is None:
        last = text.split("\n")
        return Remark(len(last), len(last[-1]) + 1, "", f"is not valid TOML: {found['what']} at the end of the file")
    return Remark(int(line), int(column), "", f"is not valid TOML: {found['what']}")


class _File:
    def __init__(self, table: Table, odd: Remarks) -> None:
        self._table = table
        self._odd = odd

    def document(self) -> PolicyDocument:
        self._version()
        scalars = self._settings()
        classes = self._classes()
        queues, unsaid = self._queues()
        limits = self._limits({queue.name for queue in queues})
        floating, theirs = self._floating([limit.name for limit in limits])
        self._resources(limits, floating)
        self._table.rest(f.TOP)
        policy = Policy(
            **scalars, side_constraints=(*limits, *theirs), floating_resources=floating, priority_classes=classes
        )
        return PolicyDocument(policy, tuple(queues), frozenset(unsaid))

    def _version(self) -> None:
        if not self._table.has("version"):
            self._table.complain(f"version is missing; begin the file with `version = {VERSION}`")
        version = self._table.take("version", f.whole, VERSION)
        if version != VERSION:
            self._table.complain(f"must be {VERSION}, the only one that this program reads; got {version}", "version")

    # --- the policy's own numbers and words ---

    def _settings(self) -> dict[str, Any]:
        sections = {name: self._table.table(name) for name in (f.OBJECTIVE, f.HISTORY, f.SOLVER)}
        values: dict[str, Any] = {}
        values["fairness"], values["utility"] = self._objective(sections[f.OBJECTIVE])
        unread: set[str] = set()
        for setting in f.SETTINGS:
            table = sections[setting.section]
            default = getattr(Policy(), setting.field)
            before = len(table.wrong.found)
            value = table.take(setting.key, setting.read, default)
            if setting.words and value not in setting.words:
                table.complain(_one_of(str(value), setting.words), setting.key)
                value = default
            if len(table.wrong.found) > before:
                unread.add(setting.field)
            values[setting.field] = value
        for name, table in sections.items():
            table.rest(f.keys_of(name), {key: _elsewhere(key, name) for key in _KEYS if key not in f.keys_of(name)})
        places = {setting.field: (setting.section, setting.key) for setting in f.SETTINGS}
        for violation in Policy(**values).violations():
            if violation.field not in unread:
                description = violation.description
                for setting in f.SETTINGS:
                    description = re.sub(rf"\b{setting.field}\b", setting.key, description)
                self._table.wrong.add(places.get(violation.field, (f.OBJECTIVE, f.ALPHA)), description)
        return values

    def _objective(self, table: Table) -> tuple[float, str]:
        """(fairness, utility)."""
        if table.has(f.NAME) and table.has(f.ALPHA):
            table.complain("goes without alpha: a name says it all; keep one of them", f.NAME)
        fairness, utility = table.take(f.NAME, _named_objective, (1.0, NORMALISED_THROUGHPUT))
        if table.has(f.ALPHA):
            fairness, utility = table.take(f.ALPHA, _alpha, 1.0), NORMALISED_THROUGHPUT
        if table.has(f.UTILITY) and not table.has(f.ALPHA):
            table.complain("goes with alpha only: a name says it already", f.UTILITY)
        return fairness, table.take(f.UTILITY, lambda value: _word(value, UTILITIES), utility)

    def _classes(self) -> tuple[PriorityClass, ...]:
        if not self._table.has("priority_class"):
            return BUILT_IN
        found: dict[str, PriorityClass] = {}
        complete = True
        for table in self._table.tables("priority_class"):
            name = table.require("name", f.text, "", 'name = "batch"')
            priority = table.require("priority", f.whole, 0, "priority = -10; a larger one is served first")
            preemptible = table.take("preemptible", f.truth, default=True)
            table.rest(f.PRIORITY_CLASS)
            if table.broken:
                complete = False
                continue
            made = PriorityClass(name, priority, preemptible)
            table.judge(made.violations(), {})
            if name in found:
                table.complain(f"{name!r} was given before: each class once", "name")
            found[name] = made
        if complete:
            for violation in Policy(priority_classes=tuple(found.values())).violations():
                if violation.field == "priority_classes":
                    self._table.complain(violation.description, "priority_class")
        return tuple(found.values())

    # --- queues ---

    def _queues(self) -> tuple[list[Queue], set[str]]:
        """The queues, and those of them that do not say whether they are cordoned."""
        found: dict[str, tuple[Queue, Path]] = {}
        unsaid: set[str] = set()
        for table in self._table.tables("queue"):
            queue = _queue(table)
            if not table.has("cordoned"):
                unsaid.add(queue.name)
            if queue.name in found:
                line = table.wrong.where.of(found[queue.name][1])[0]
                table.complain(f"{queue.name!r} was given before, in line {line}: each queue once", "name")
            elif table.has("name"):
                found[queue.name] = (queue, table.path)
        for queue, path in found.values():
            if queue.parent is not None and queue.parent not in found:
                near = get_close_matches(queue.parent, found, 1, 0.8) if len(self._odd.found) < MOST_HINTS else []
                hint = f" (did you mean {near[0]}?)" if near else ""
                self._odd.add((*path, "name"), f"the queue above it, {queue.parent}, is not in the file{hint}: "
                              "it must be there already")  # fmt: skip
        return [queue for queue, _ in found.values()], unsaid

    # --- limits ---

    def _limits(self, queues: set[str]) -> list[SideConstraint]:
        found: dict[str, SideConstraint] = {}
        for table in self._table.tables("limit"):
            limit = _limit(table, queues)
            if limit is not None and limit.name in found:
                table.complain(f"{limit.name!r} was given before: each limit once", "name")
            elif limit is not None:
                found[limit.name] = limit
        return list(found.values())

    def _floating(self, taken: Sequence[str]) -> tuple[tuple[str, ...], list[SideConstraint]]:
        """Names of the resources, and the limits of those that have one of their own."""
        table = self._table.table("floating")
        names: list[str] = []
        limits: list[SideConstraint] = []
        for name, value in table.items():
            try:
                most = f.number(value)
            except ValueError:
                table.complain(
                    f"must be how many there are, or inf if other limits bound it; got {f.shown(value)}", name
                )
                continue
            wrong = Policy(floating_resources=(name,)).violations()
            for violation in wrong:
                table.complain(violation.description, name)
            names.append(name)
            if wrong or most == float("inf"):
                continue
            limit = SideConstraint(name, (Term(name),), most)
            for violation in limit.violations():
                table.complain(f"{violation.field}: {violation.description}", name)
            if name in taken:
                table.complain(f"a [[limit]] is called {name!r}, too: each name once; write {name} = inf here to keep "
                               "only that one", name)  # fmt: skip
            limits.append(limit)
        return tuple(names), limits

    def _resources(self, limits: Sequence[SideConstraint], floating: Sequence[str]) -> None:
        """Remark upon extras, and upon amounts, that look like a slip of the pen."""
        known = [*FIELD_BY_RESOURCE, *floating]
        for index, limit in enumerate(limits):
            if _means_percent(limit):
                assert limit.most is not None
                why = f'allows less than one GPU; for a part of all there are, write "{100 * limit.most:g} %"'
                self._odd.add(("limit", index, "most"), why)
            for place, term in enumerate(limit.terms):
                near = get_close_matches(term.resource, known, 1, 0.7) if len(self._odd.found) < MOST_HINTS else []
                if term.resource not in known and near:
                    path = ("limit", index, "term", place, "resource")
                    self._odd.add(path, f"{term.resource} is taken for an extra resource; did you mean {near[0]}?")


def _queue(table: Table) -> Queue:
    name = table.require("name", f.text, "nameless", 'name = "research", or "research/vision" for one below it')
    queue = Queue(
        name=name,
        weight=table.take("weight", f.number, 1.0),
        cordoned=table.take("cordoned", f.truth, default=False),
        max_live_jobs=table.take("max_live_jobs", _optional(f.whole), None),
        priority=table.take("priority", f.whole, 0),
        quotas=tuple(quota for quota in map(_quota, table.tables("quota")) if quota is not None),
        discipline=table.take(
            "discipline", lambda value: Discipline(_word(value, [each.value for each in Discipline])), Discipline.FAIR
        ),
    )
    table.rest(f.QUEUE, {"quotas": "did you mean quota? Each begins with [[queue.quota]]"})
    table.judge(queue.violations(), _QUOTA_WORDS)
    return queue


def _quota(table: Table) -> Quota | None:
    """None where it cannot be read."""
    flavor = table.require("flavor", f.text, "unknown", 'flavor = "h100"')
    resource = table.require("resource", f.text, "gpu", 'resource = "gpu"')

    def amount(value: object) -> int:
        if isinstance(value, dict | list | bool):
            raise f.Unreadable(f'must be an amount such as 16 or "512GiB", got {f.shown(value)}')
        return parse_amount(resource, value)

    quota = Quota(
        flavor,
        resource,
        table.require("nominal", amount, 0, "nominal = 16; 0 guarantees nothing"),
        table.take("borrow", _optional(amount), None),
        table.take("lend", _optional(amount), None),
    )
    table.rest(f.QUOTA, {"borrowing_limit": "did you mean borrow?", "lending_limit": "did you mean lend?"})
    return None if table.broken else quota


def _limit(table: Table, queues: set[str]) -> SideConstraint | None:
    """None where it cannot be read."""
    name = table.require("name", f.text, "", 'name = "power-r7"')
    nothing: tuple[float | None, float | None] = (0.0, None)
    most, part = table.require("most", _most, nothing, 'most = 12.5, or most = "40 %" of what there is')
    unit = table.take("unit", f.text, "")
    if not table.has("term"):
        table.complain("has no terms: say what counts in one or more [[limit.term]]")
        table.broken = True
    terms = []
    for below in table.tables("term"):
        term = _term(below, queues)
        table.broken |= below.broken
        terms.append(term)
    table.rest(f.LIMIT, _WISHFUL)
    if table.broken:
        return None
    limit = SideConstraint(name, tuple(terms), most, part, unit)
    table.judge(limit.violations(), _LIMIT_WORDS)
    return limit


def _term(table: Table, queues: set[str]) -> Term:
    term = Term(
        table.require("resource", f.text, "gpu", 'resource = "gpu"'),
        table.take("per_unit", f.number, 1.0),
        table.take("flavors", _texts, ()),
        table.take("queues", _texts, ()),
        table.take("job_labels", _labels, ()),
        table.take("node_labels", _labels, ()),
    )
    table.rest(f.TERM, {"flavor": "did you mean flavors, a list?", "queue": "did you mean queues, a list?"})
    for index, name in enumerate(term.queues if queues else ()):
        if name not in queues:
            near = get_close_matches(name, queues, 1) if len(table.wrong.found) < MOST_HINTS else []
            hint = f"; did you mean {near[0]}?" if near else ""
            table.wrong.add((*table.path, "queues", index), f"names {name!r}, and the file has no such queue{hint}")
    return term


def _means_percent(limit: SideConstraint) -> bool:
    """Whether a number of whole things is a fraction: 0.4 where 40 % may be meant."""
    counted = [term.per_unit for term in limit.terms if term.resource == "gpu"]
    return limit.most is not None and bool(counted) and not limit.unit and 0 < limit.most < min([1.0, *counted])


# --- values -------------------------------------------------------------------------------------------------------


def _optional(read: Callable[[object], int]) -> Callable[[object], int | None]:
    return read


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise f.Unreadable(f'must be a list of texts such as ["a", "b"], got {f.shown(value)}')
    if len(set(value)) < len(value):
        raise f.Unreadable("names something twice: each once")
    return tuple(value)


def _labels(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise f.Unreadable(f'must be a table of texts such as {{ rack = "r7" }}, got {f.shown(value)}')
    return tuple(sorted(value.items()))


def _most(value: object) -> tuple[float | None, float | None]:
    """(most, most_part), one of them None."""
    if not isinstance(value, str):
        return f.number(value), None
    number = value.strip()
    if not number.endswith("%"):
        raise f.Unreadable(f'must be a number such as 12.5, or a part such as "40 %"; got {value!r}')
    try:
        percent = Decimal(number[:-1].strip())
    except InvalidOperation:
        raise f.Unreadable(f'must be a part such as "40 %", got {value!r}') from None
    if not percent.is_finite() or not 0 <= percent <= 100:
        raise f.Unreadable(f"must be from 0 % to 100 %, got {value!r}")
    return None, float(percent / 100)


def _named_objective(value: object) -> tuple[float, str]:
    name = f.text(value)
    if name[:1].isdecimal() or name in ("inf", "nan"):
        raise f.Unreadable(f"must be a name; write alpha = {name} for a number")
    return objective_of(name)


def _alpha(value: object) -> float:
    alpha = f.number(value)
    if not alpha >= 0:
        raise f.Unreadable(f"must be a number, at least 0, or inf; got {f.shown(value)}")
    return alpha


def _word(value: object, words: Sequence[str]) -> str:
    word = f.text(value)
    if word not in words:
        raise f.Unreadable(_one_of(word, words))
    return word


def _one_of(word: str, words: Sequence[str]) -> str:
    near = get_close_matches(word, words, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"must be one of {', '.join(words)}; got {word!r}{meant}"


_KEYS = {setting.key: setting.section for setting in f.SETTINGS}


def _elsewhere(key: str, section: str) -> str:
    return f"{key} belongs into [{_KEYS[key]}], not into [{section}]"


__all__ = ["VERSION", "Reading", "Remark", "read"]
