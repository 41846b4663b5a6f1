"""What a call may raise besides the refusals of `allocator.domain.errors`, which come back as they were raised.

AllocatorError (domain)
+-- Unreachable           nothing answers at the address, or the connection broke
+-- DeadlineExceeded      no answer in time; whether the request took effect is unknown unless it only reads
+-- UnexpectedAnswer      the server failed, or speaks another version of the API
"""

from __future__ import annotations

from allocator.domain.errors import AllocatorError


class Unreachable(AllocatorError):
    """Nothing answers at `address`."""

    def __init__(self, address: str, description: str) -> None:
        self.address, self.description = address, description
        super().__init__(f"no daemon answers at {address}: {description}")


class DeadlineExceeded(AllocatorError):
    """No answer within the call's timeout."""

    def __init__(self, method: str, seconds: float) -> None:
        self.method, self.seconds = method, seconds
        super().__init__(f"{method} got no answer within {seconds:g} s")


class UnexpectedAnswer(AllocatorError):
    """The server answered with an error that is none of the documented ones; `code` is the gRPC status."""

    def __init__(self, method: str, code: str, description: str) -> None:
        self.method, self.code, self.description = method, code, description
        super().__init__(f"{method} ended with {code}: {description}")


__all__ = ["AllocatorError", "DeadlineExceeded", "UnexpectedAnswer", "Unreachable"]
