"""The options of `replay`, as an experiment's file may set them, and the command line that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer

from allocator.domain.errors import InvalidInput

OWN = frozenset({"out", "force", "json", "help"})
"""Options that a sweep sets itself."""


class Options:
    """Options of a typer command. A value that it would refuse is refused here, before anything runs."""

    def __init__(self, command: Callable[..., Any]) -> None:
        alone = typer.Typer(add_completion=False)
        alone.command()(command)
        self._command = typer.main.get_command(alone)
        self._hints = get_type_hints(command)
        self._parameters: dict[str, Any] = {
            option.removeprefix("--"): parameter
            for parameter in self._command.params
            for option in parameter.opts
            if option.startswith("--")
        }

    def is_path(self, name: str) -> bool:
        """Whether the option names a file or a folder."""
        parameter = self._parameters.get(name)
        hint = None if parameter is None else self._hints.get(parameter.name)
        return hint is Path or Path in get_args(hint)

    def arguments(self, said: Mapping[str, Any]) -> tuple[str, ...]:
        """The command line. Raises InvalidInput for names there are not, and values that the command refuses."""
        made: list[str] = []
        for name, value in said.items():
            made += self._one(name, value)
        self._check(made)
        return tuple(made)

    def _one(self, name: str, value: Any) -> list[str]:
        parameter = self._parameters.get(name)
        if name in OWN:
            raise InvalidInput.of(name, "is what the sweep sets itself")
        if parameter is None:
            near = get_close_matches(name, self._parameters.keys() - OWN, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; `replay --help` lists them"
            raise InvalidInput.of(name, f"is no option of replay{hint}")
        if isinstance(value, bool):
            if not parameter.is_flag:
                raise InvalidInput.of(name, f"takes a value, not {str(value).lower()}")
            if value:
                return [f"--{name}"]
            return [parameter.secondary_opts[0]] if parameter.secondary_opts else []
        if parameter.is_flag:
            raise InvalidInput.of(name, f"must be true or false, got {value!r}")
        if not isinstance(value, str | int | float):
            raise InvalidInput.of(name, f"must be one value, got {value!r}")
        return [f"--{name}={value}"]

    def _check(self, arguments: list[str]) -> None:
        """Let the command parse them, without running it."""
        try:
            self._command.make_context("replay", [*arguments, "--out=unused"]).close()
        except Exception as error:  # click's usage errors; typer brings its own copy of click, under another name
            message = getattr(error, "format_message", None)
            if message is None:
                raise
            raise InvalidInput.of("options", message()) from None
