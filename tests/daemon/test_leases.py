"""A daemon that starts with a shorter lease than the last one promised."""

from __future__ import annotations

from pathlib import Path

from allocator.daemon.app import Daemon
from allocator.daemon.config import load
from tests.builders import node


async def started(folder: Path, lease: float) -> Daemon:
    settings = load(
        None,
        {
            "server.port": 0,
            "metrics.port": 0,
            "store.url": f"sqlite:///{folder}/allocator.db",
            "nodes.heartbeat_timeout_seconds": lease,
        },
    )
    daemon = Daemon(settings)
    await daemon.start()
    return daemon


async def test_earlier_leases_are_honoured_until_they_are_over(tmp_path: Path) -> None:
    """Agents that nobody answers go by them, so their nodes must not be given up before, through any restart."""
    for lease, longest in ((45.0, 45.0), (10.0, 45.0), (60.0, 60.0)):
        daemon = await started(tmp_path, lease)
        try:
            assert daemon.store.promised_lease() == longest
            assert not daemon.liveness.earlier_leases_are_over
            assert daemon.liveness.timeout_seconds == lease
        finally:
            await daemon.stop()
    daemon = await started(tmp_path, 10.0)
    try:
        await daemon.forget_longer_leases()
        assert daemon.store.promised_lease() == 60.0
        daemon.liveness.begin([node()], 0.0)  # as if they were over
        await daemon.forget_longer_leases()
        assert daemon.store.promised_lease() == 10.0
    finally:
        await daemon.stop()
