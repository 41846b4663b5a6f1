"""Settings of the daemon: flags over environment over file over defaults, validated, each with a name and a unit.

The environment spells a setting `ALLOCATOR_<SECTION>__<KEY>`, e.g. `ALLOCATOR_SERVER__PORT=50051`.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.objectives import OBJECTIVES, objective_of
from allocator.domain.policy import Policy

ENVIRONMENT_PREFIX = "ALLOCATOR_"
CONFIG_VARIABLE = "ALLOCATOR_CONFIG"
"""Names the configuration file when no flag does."""


class Section(BaseModel):
    """A table of the file: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: object) -> object:
        """Python takes true for the number 1; nobody who writes it means that."""
        if isinstance(value, bool):
            raise ValueError("must not be true or false")  # noqa: TRY004 the validation library wants ValueError
        return value


class Server(Section):
    """Where the gRPC API listens."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 or [::] for every interface"
    )
    port: int = Field(default=50051, ge=0, le=65535, description="TCP port; 0 picks a free one")
    max_message_bytes: int = Field(default=32 * 2**20, ge=2**16, le=2**31 - 1, description="largest request or answer")
    drain_seconds: float = Field(default=10.0, ge=0, le=3600, description="how long calls may finish after SIGTERM")


class Store(Section):
    """Where the facts are kept."""

    url: str = Field(default="sqlite:///allocator.db", description="SQLAlchemy URL: sqlite:///FILE or postgresql://...")
    group_commit_seconds: float = Field(
        default=0.003, ge=0, le=1, description="how long to collect commands that share one transaction"
    )

    @field_validator("url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        from allocator.store.database import parse  # noqa: PLC0415 clients of settings need no database library

        try:
            parse(url)
        except InvalidInput as error:
            raise ValueError(error.violations[0].description) from None
        return url


class Metrics(Section):
    """Where Prometheus scrapes."""

    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(default=9464, ge=0, le=65535, description="TCP port; 0 picks a free one")


class Rounds(Section):
    """The pace of the scheduler."""

    interval_seconds: float = Field(default=2.0, gt=0, le=3600, description="from one round to the next, at most")
    minimum_interval_seconds: float = Field(
        default=0.1,
        gt=0,
        le=3600,
        description="from one round to the next, at least: so soon one comes early where something has happened (a job "
        "came or ended, a node came or went), unless rounds take long, which leave four times as much to everybody "
        "else; where it is interval_seconds or more, none comes early",
    )


class Submission(Section):
    """What is taken."""

    infeasible: Literal["reject", "wait"] = Field(
        default="reject",
        description="jobs that can never run on the nodes that are known (as soon as there is one): refuse them unless "
        "the submitter says otherwise, or let them wait for nodes to come",
    )


class Nodes(Section):
    """What is asked of node agents."""

    heartbeat_interval_seconds: float = Field(default=2.0, gt=0, le=3600, description="how often agents shall report")
    heartbeats_per_second: float = Field(
        default=250.0,
        ge=1,
        le=100_000,
        description="most of all agents together: where they are too many for that, each is asked to report less "
        "often, but still five times per timeout",
    )
    heartbeat_timeout_seconds: float = Field(
        default=45.0,
        gt=0,
        le=86400,
        description="silence after which a node is lost; agents stop their jobs a little earlier, so a restart of the "
        "daemon must be quicker",
    )

    @model_validator(mode="after")
    def _one_heartbeat_may_be_late(self) -> Self:
        if self.heartbeat_timeout_seconds < 2 * self.heartbeat_interval_seconds:
            raise ValueError(
                f"heartbeat_timeout_seconds ({self.heartbeat_timeout_seconds:g}) must be at least twice "
                f"heartbeat_interval_seconds ({self.heartbeat_interval_seconds:g}), or agents that obey are lost"
            )
        return self


class Log(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe level written"
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal, JSON lines elsewhere"
    )


class PolicySection(Section):
    """What is wanted of a round, until a policy is applied (`allocator policy apply`): from then on that holds."""

    fairness: float | str = Field(
        default="proportional",
        description="the objective: proportional, throughput, min-delay, max-min, drf, or an alpha such as 0.5",
    )
    minimum_run_seconds: float = Field(
        default=300.0, ge=0, allow_inf_nan=False, description="run time before a fair-share preemption"
    )
    hysteresis_seconds: float = Field(
        default=300.0, ge=0, allow_inf_nan=False, description="how much more than the runner a waiting job must be owed"
    )
    lag_tolerance: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="part of its age that a job may lag behind, so that old jobs change places less often",
    )
    horizon_seconds: float = Field(
        default=3600.0, gt=0, allow_inf_nan=False, description="expected life of a placement, to weigh restart costs"
    )
    credit_limit_seconds: float = Field(
        default=7200.0, gt=0, allow_inf_nan=False, description="most run time owed to a job"
    )
    gap: float = Field(
        default=1e-4,
        gt=0,
        lt=1,
        description="largest gap that counts as optimal: what everybody would have to lose of their utility, as a part",
    )
    iterations: int = Field(default=400, ge=1, description="the solver's budget, in iterations")
    placement: Literal["prospects", "best-fit", "fragmentation"] = Field(
        default="prospects",
        description="which node of those that fit: the one that work to come loses least by (prospects), "
        "the one with the least left (best-fit), or by how much the next job could not use (fragmentation)",
    )
    usage_strength: float = Field(
        default=0.0,
        ge=0,
        le=8,
        description="how strongly a queue that had less than its weight's part is paid back: 0 not at all, 1: one that "
        "had half of its part counts twice its weight",
    )
    usage_half_life_seconds: float = Field(
        default=86_400.0, gt=0, allow_inf_nan=False, description="time in which half of what queues had is forgotten"
    )
    weighting: Literal["none", "least-attained-service", "shortest-remaining", "finish-time"] = Field(
        default="none",
        description="by what the weights of a queue's jobs change as they run: nothing (none), less for those that "
        "have run for long (least-attained-service) or have long to go (shortest-remaining), more for those that will "
        "be late for an equal share (finish-time)",
    )
    service_seconds: float = Field(
        default=3600.0,
        gt=0,
        allow_inf_nan=False,
        description="run time, had or left, up to which a job has its full weight",
    )
    aging_seconds: float = Field(
        default=math.inf, gt=0, description="time since submission in which a job's weight doubles; inf: it does not"
    )
    weight_factor_limit: float = Field(
        default=8.0, ge=1, le=1024, description="how many times each of these may change a weight, up or down"
    )
    crowd_strength: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="how much the weights of its jobs count for a queue: 0: it counts by its own weight alone; 1: "
        "every job counts alike, whatever queue it is in",
    )

    @model_validator(mode="after")
    def _makes_sense_together(self) -> Self:
        violations = self.policy().violations()
        if violations:
            raise ValueError("; ".join(str(violation) for violation in violations))
        return self

    @field_validator("fairness")
    @classmethod
    def _is_an_objective(cls, value: float | str) -> float | str:
        fairness, _ = objective_of(str(value))
        return value if value in OBJECTIVES else fairness

    def policy(self) -> Policy:
        """As the domain knows it."""
        fairness, utility = objective_of(str(self.fairness))
        known = type(self).model_fields
        same = {field.name: getattr(self, field.name) for field in fields(Policy) if field.name in known}
        return Policy(**(same | {"fairness": fairness, "utility": utility}))


class Settings(BaseSettings):
    """All settings. Made by `load`."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    server: Server = Server()
    store: Store = Store()
    metrics: Metrics = Metrics()
    rounds: Rounds = Rounds()
    policy: PolicySection = PolicySection()
    submission: Submission = Submission()
    nodes: Nodes = Nodes()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 the library's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags over environment over file."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


def load(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Settings from `path` (or the file ALLOCATOR_CONFIG names, or none), the environment, and `overrides`.

    `overrides` are dotted names to values, e.g. {"server.port": 0}; those that are None are ignored.
    Raises InvalidInput naming each wrong setting, and where it was set.
    """
    if path is None and os.environ.get(CONFIG_VARIABLE):
        path = Path(os.environ[CONFIG_VARIABLE])
    in_file = {} if path is None else _read(path)
    flags: dict[str, Any] = {}
    for name, value in (overrides or {}).items():
        if value is not None:
            section, _, key = name.partition(".")
            flags.setdefault(section, {})[key] = value

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    def origin(name: str) -> str:
        section, _, key = name.partition(".")
        if key in flags.get(section, {}):
            return " (given as a flag)"
        variable = f"{ENVIRONMENT_PREFIX}{section}__{key}".upper()
        if variable in {name.upper() for name in os.environ}:
            return f" (in the environment, {variable})"
        return f" (in {path})" if section in in_file else ""

    _refuse_unknown_variables()
    try:
        return Settings.model_construct(**dict(FromFile(**flags)))
    except ValidationError as error:
        raise InvalidInput(*_violations(error, origin)) from None


def _refuse_unknown_variables() -> None:
    """A misspelt variable would otherwise do nothing, silently. Only names with `__` are ours."""
    known = {
        f"{ENVIRONMENT_PREFIX}{section}__{key}".upper()
        for section in Settings.model_fields
        for key in _keys_of(section)
    }
    wrong = sorted(
        name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX) and "__" in name and name not in known
    )
    if wrong:
        raise InvalidInput(
            *(Violation(name, f"is not a setting; it is {ENVIRONMENT_PREFIX}<SECTION>__<KEY>") for name in wrong)
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except IsADirectoryError:
        raise InvalidInput.of(str(path), "is a directory; name a TOML file") from None
    except FileNotFoundError:
        raise InvalidInput.of(str(path), "no such file; `allocator config show` prints one to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput.of(str(path), f"cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput.of(str(path), f"is not valid TOML: {error}") from None


def _violations(error: ValidationError, origin: Callable[[str], str]) -> list[Violation]:
    found = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        suffix = origin(name)
        if problem["type"] == "extra_forbidden":
            known = ", ".join(_known(name))
            found.append(Violation(name, f"is not a setting{suffix}; known here: {known}"))
        else:
            said = problem["msg"].removeprefix("Value error, ")
            message = said[0].lower() + said[1:]
            got = "" if " got " in message or "." not in name else f", got {problem['input']!r}"
            found.append(Violation(name, f"{message}{got}{suffix}"))
    return found


def _known(name: str) -> list[str]:
    section, separator, _ = name.partition(".")
    if not separator:
        return sorted(Settings.model_fields)
    return sorted(_keys_of(section))


def _keys_of(section: str) -> list[str]:
    table = Settings.model_fields[section].annotation
    assert isinstance(table, type)
    assert issubclass(table, BaseModel)
    return list(table.model_fields)


def show(settings: Settings, *, secrets: bool = False) -> str:
    """The settings as a TOML file, every key with its description; `load` reads it back to the same settings.

    Without `secrets` a password in the database's URL is masked: people paste this.
    """
    lines: list[str] = []
    for section in Settings.model_fields:
        table = getattr(settings, section)
        lines += [f"# {(table.__doc__ or '').splitlines()[0]}", f"[{section}]"]
        for key, field in type(table).model_fields.items():
            lines += [f"# {field.description}", f"{key} = {_toml(_shown(section, key, table, secrets=secrets))}"]
        lines.append("")
    return "\n".join(lines)


def _shown(section: str, key: str, table: Section, *, secrets: bool) -> str | float:
    value: str | float = getattr(table, key)
    if (section, key) == ("store", "url") and not secrets:
        from sqlalchemy import make_url  # noqa: PLC0415 see Store

        url = make_url(str(value))
        return value if url.password is None else url.render_as_string(hide_password=True)
    return value


def _toml(value: str | float) -> str:
    # A JSON string, integer or finite float is also a TOML one.
    return "inf" if value == math.inf else json.dumps(value)
