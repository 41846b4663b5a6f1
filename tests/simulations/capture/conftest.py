"""A served cluster, and a capture of a dozen of its rounds, which several tests read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.served import Served
from tests.simulations.capture.cluster import Captured, Story, dozen_rounds, gpu_node


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    made.populate(("q", "p", "p/x", "p/y"), (gpu_node("n1"), gpu_node("n2")))
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="session")
def a_dozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Story]:
    """The file, and what happened."""
    path = tmp_path_factory.mktemp("capture") / "dozen.capture.gz"
    served = Served()
    served.populate(("q", "p", "p/x", "p/y"), (gpu_node("n1"), gpu_node("n2")))
    served.start()
    try:
        captured = Captured(served, path, rounds=12)
        captured.begin()
        story = Story(served)
        dozen_rounds(story)
        captured.close()
    finally:
        served.close()
    return path, story
