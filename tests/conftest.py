"""For all tests."""

from __future__ import annotations

import signal

# Shells start what is in the background with interrupts ignored, and so would be everything that tests start: but they
# interrupt some of it, and wait for it to end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
