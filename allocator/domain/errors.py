"""Everything that can be refused, as one exception tree.

    AllocatorError
    +-- InvalidInput          a field is wrong; carries every violation found
    +-- NotFound              the named thing does not exist
    +-- AlreadyExists         the name, or the request id with another body, is taken
    +-- FailedPrecondition    the thing exists, but not in a state that allows this
    +-- ResourceExhausted     a stated limit is reached; trying later may succeed
    +-- StoreUnavailable      the facts cannot be made durable right now

Each maps to one gRPC status and one exit code of the CLI; adapters translate, nobody parses text.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with one field: ``field`` is a path such as ``jobs[3].configurations[0].replicas``."""

    field: str
    description: str

    def under(self, prefix: str) -> Violation:
        """The same violation, its field path seen from an enclosing message."""
        return Violation(f"{prefix}.{self.field}" if self.field else prefix, self.description)

    def __str__(self) -> str:
        return f"{self.field}: {self.description}" if self.field else self.description


class AllocatorError(Exception):
    """Base of everything this program refuses on purpose."""


class InvalidInput(AllocatorError):
    """The request cannot mean anything, whatever the state of the cluster."""

    def __init__(self, *violations: Violation) -> None:
        self.violations = violations
        super().__init__("; ".join(str(violation) for violation in violations))

    @classmethod
    def of(cls, field: str, description: str) -> InvalidInput:
        """An error about a single field."""
        return cls(Violation(field, description))


class NotFound(AllocatorError):
    """No ``kind`` (job, queue, node, round) of that name."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"{kind} {name!r} does not exist")


class AlreadyExists(AllocatorError):
    """The name is taken, or a request id was used before with another body."""

    def __init__(self, kind: str, name: str, description: str = "already exists") -> None:
        self.kind, self.name, self.description = kind, name, description
        super().__init__(f"{kind} {name!r} {description}")


class FailedPrecondition(AllocatorError):
    """The subject is in a state that does not allow this; ``description`` says what to do first."""

    def __init__(self, subject: str, description: str) -> None:
        self.subject, self.description = subject, description
        super().__init__(f"{subject}: {description}")


class ResourceExhausted(AllocatorError):
    """A limit that was announced is reached: ``subject`` names whose, ``retry_after_seconds`` when to try again."""

    def __init__(self, subject: str, description: str, retry_after_seconds: float = 1.0) -> None:
        self.subject, self.description, self.retry_after_seconds = subject, description, retry_after_seconds
        super().__init__(f"{subject}: {description}")


class StoreUnavailable(AllocatorError):
    """Nothing was acknowledged and nothing was lost: the store could not make it durable."""
