"""Uses processor time, so much in all, and says every second how many cores it got: `python burn.py SECONDS`.

It keeps what it has done in a file, so that it goes on from there when it was stopped for others.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

STEPS = 20_000
_DONE = Path("burn.done")


def main(seconds: float) -> None:
    """Until `seconds` of processor time are used, counted over all runs."""
    os.nice(10)  # whoever works on this machine comes first
    done = float(_DONE.read_text()) if _DONE.exists() else 0.0
    print(f"{'going on' if done else 'beginning'} at {done:.1f} of {seconds:g} s of processor time", flush=True)
    signal.signal(signal.SIGTERM, _leave)
    said, used = time.monotonic(), time.process_time()
    while done < seconds:
        sum(step * step for step in range(STEPS))
        now = time.monotonic()
        if now - said >= 1.0:
            fresh = time.process_time() - used
            done, used = done + fresh, used + fresh
            print(f"{fresh / (now - said):5.2f} cores, {min(done, seconds):6.1f} of {seconds:g} s done", flush=True)
            said = now
            _keep(done)
    _DONE.unlink(missing_ok=True)
    print("done", flush=True)


def _keep(done: float) -> None:
    _DONE.write_text(f"{done:.3f}")
    if progress := os.environ.get("ALLOCATOR_PROGRESS"):  # how fast it is, for the daemon
        Path(progress).write_text(f"{done:.3f}")


def _leave(*_: object) -> None:
    print("told to leave: what is done is kept", flush=True)
    sys.exit(0)


if __name__ == "__main__":
    main(float(sys.argv[1]))
