from typing import Any

from . import utils as utils

def validate(data: dict[str, Any], desired_version: str, strict: bool = ...) -> str: ...

class ValidationError(Exception): ...
