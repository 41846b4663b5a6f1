"""The table of names keeps Prometheus' rules, and the documentation keeps up with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from allocator.domain.queue import Queue
from allocator.domain.resources import STANDARD_RESOURCES, Resources
from allocator.metrics import names, reference
from allocator.metrics.names import FAMILIES, Family, Kind

_UNITS = ("seconds", "bytes", "bytes_per_second", "cores", "gpus", "units", "ratio")
_WITHOUT_UNIT = {
    # Plain counts and prices; `allocator_objective` has the unit of utility, which has no name.
    names.JOBS, names.WAITING, names.NODES, names.NODES_IN_TROUBLE, names.WATCHERS, names.QUEUE_WEIGHT, names.PRICE,
    names.QUOTA_PRICE, names.LIMIT_PRICE, names.PIECES_PRICE, names.NODES_PRICE, names.OBJECTIVE, names.BOUND,
    names.BATCH_COMMANDS, names.BUILD, names.PROMISES, names.MISDECLARED, names.POLICY_VERSION,
    names.WAITING_FOR_DEPARTURE,
}  # fmt: skip
_FORBIDDEN_LABELS = {"job", "job_id", "node", "request", "user", "le", "quantile", "instance"}


def test_no_name_stands_twice() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_name_follows_the_rules(family: Family) -> None:
    assert re.fullmatch(r"allocator_[a-z][a-z_]*[a-z]", family.name)
    assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
    if family.kind is not Kind.COUNTER and family not in _WITHOUT_UNIT:
        assert family.name.endswith(_UNITS)
    assert family.help.endswith(".")
    assert family.unit


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_label_is_bounded_and_explained(family: Family) -> None:
    assert not _FORBIDDEN_LABELS.intersection(family.labels)
    assert set(family.labels) <= set(names.LABEL_MEANINGS)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_histograms_and_only_they_have_ascending_buckets(family: Family) -> None:
    assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
    assert list(family.buckets) == sorted(set(family.buckets))


def test_every_resource_has_its_families() -> None:
    keys = {*STANDARD_RESOURCES, names.EXTRA}
    assert set(names.LOST) == keys
    assert set(names.AMOUNTS) == {(key, role) for key in keys for role in ("capacity", "requested", "allocated")}
    roles = ("used", "optimum", "quota", "most", "lent", "borrowed")
    assert set(names.QUOTAS) == {(key, role) for key in keys for role in roles}


def test_the_label_for_the_rest_can_be_no_real_name() -> None:
    assert Queue(names.OTHER).violations()
    assert Resources(extra=((names.OTHER, 1),)).violations()


def test_the_readme_is_up_to_date() -> None:
    assert reference.main(["--check"]) == 0, "run: python -m allocator.metrics.reference"


def test_the_reference_names_every_metric_once_and_every_label() -> None:
    rows = [line for line in reference.tables().splitlines() if line.startswith("| `")]
    first_cells = [row.split("|")[1].strip(" `") for row in rows]
    assert first_cells == [family.name for family in FAMILIES] + list(names.LABEL_MEANINGS)


def test_a_readme_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="begin: generated"):
        reference.updated("# a page without tables")


def test_an_outdated_page_is_found_and_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{reference.BEGIN}\nold\n{reference.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(reference, "README", page)
    assert reference.main(["--check"]) == 1
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "`allocator_jobs`" in text
    assert "old" not in text.split("\n")


def test_the_reference_takes_no_other_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--chekc"]) == 2
    assert "usage" in capsys.readouterr().err
