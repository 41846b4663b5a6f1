"""Results that several tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulations.report.page import page
from simulations.report.results import read_results
from simulations.report.sections import Section, sections
from tests.simulations.report.replays import hostile_results, made_results


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two policies, three seeds each."""
    return made_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def found(results: Path) -> Section:
    return sections(read_results([results]))[0]


@pytest.fixture(scope="session")
def report(results: Path) -> Path:
    """The page about them."""
    file = results / "report.html"
    file.write_text(page(sections(read_results([results])), "1.2.3"), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about replays with names that try to break out of it."""
    folder = hostile_results(tmp_path_factory.mktemp("hostile"))
    file = folder / "report.html"
    file.write_text(page(sections(read_results([folder])), "1.2.3"), encoding="utf-8")
    return file
