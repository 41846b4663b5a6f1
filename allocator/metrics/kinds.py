"""How commands and refusals are spelt as label values: their class names in snake case."""

from __future__ import annotations

import re

from allocator.domain.errors import AllocatorError
from allocator.intake.commands import Command

_WORD_START = re.compile(r"(?<!^)(?=[A-Z])")


def command_kind(command: type[Command] | Command) -> str:
    """`submit_jobs` for SubmitJobs."""
    kind = command if isinstance(command, type) else type(command)
    return _snake(kind.__name__)


def error_code(error: BaseException) -> str:
    """`not_found` for NotFound; `internal` for whatever is not a refusal on purpose."""
    return _snake(type(error).__name__) if isinstance(error, AllocatorError) else "internal"


def _snake(name: str) -> str:
    return _WORD_START.sub("_", name).lower()
