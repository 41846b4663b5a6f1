"""Writes allocator.example.toml from the settings' own descriptions and defaults: `python -m deploy.example_config`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from allocator.daemon.config import Settings, show
from deploy import generated

FILE = Path(__file__).parent / "allocator.example.toml"

_HEADER = """\
# Settings of the allocator. Every key is here with its default; uncomment what you change.
# Flags win over the environment (ALLOCATOR_<SECTION>__<KEY>), the environment over this file. To test a file:
#   allocator config check --config FILE

"""
_KEY = re.compile(r"^(\w+ = )", re.MULTILINE)


def rendered() -> str:
    """Every key commented out, so that a copy of the file changes nothing and follows later defaults."""
    return _HEADER + _KEY.sub(r"#\1", show(Settings.model_construct())).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(generated.run("deploy.example_config", FILE, rendered(), sys.argv[1:]))
