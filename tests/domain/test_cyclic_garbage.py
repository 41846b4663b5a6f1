"""The collector rests while anybody decides, and is left as it was."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from allocator.domain.cyclic_garbage import cyclic_garbage_waits


@pytest.fixture
def collecting() -> Iterator[None]:
    assert gc.isenabled()
    yield
    gc.enable()


@pytest.mark.usefixtures("collecting")
def test_it_rests_until_the_last_thread_is_done() -> None:
    inside, leave = threading.Event(), threading.Event()

    def answer() -> None:
        with cyclic_garbage_waits():
            inside.set()
            leave.wait(30)

    other = threading.Thread(target=answer)
    with cyclic_garbage_waits():
        other.start()
        assert inside.wait(30)
        assert not gc.isenabled()
    assert not gc.isenabled(), "the other thread still decides"
    leave.set()
    other.join()
    assert gc.isenabled()


@pytest.mark.usefixtures("collecting")
def test_whoever_had_it_off_has_it_off_afterwards() -> None:
    gc.disable()
    with cyclic_garbage_waits():
        assert not gc.isenabled()
    assert not gc.isenabled()
