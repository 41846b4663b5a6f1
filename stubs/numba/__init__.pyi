from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

def njit(
    *, cache: bool = ..., nogil: bool = ..., fastmath: bool | set[str] = ..., error_model: str = ..., inline: str = ...
) -> Callable[[_Function], _Function]: ...
