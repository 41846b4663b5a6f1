"""Files by which the daemon is installed: each is judged by the program that reads it, and agrees with the settings."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from allocator.daemon.config import CONFIG_VARIABLE, ENVIRONMENT_PREFIX, Settings, load
from deploy import example_config
from tests.deploy.prometheus import program

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
UNIT = (DEPLOY / "systemd" / "allocator.service").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DEFAULTS = Settings.model_construct()


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)
    return monkeypatch


# The example configuration.


def test_the_example_is_up_to_date() -> None:
    message = "run: python -m deploy.example_config"
    assert example_config.FILE.read_text(encoding="utf-8") == example_config.rendered(), message


@pytest.mark.usefixtures("clean_environment")
def test_the_example_as_it_is_changes_nothing() -> None:
    assert load(example_config.FILE) == DEFAULTS


@pytest.mark.usefixtures("clean_environment")
def test_the_example_with_everything_uncommented_says_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "allocator.toml"
    text = re.sub(r"^#(\w+ = )", r"\1", example_config.FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    file.write_text(text, encoding="utf-8")
    written = tomllib.loads(text)
    for section in Settings.model_fields:
        assert set(written[section]) == set(type(getattr(DEFAULTS, section)).model_fields)
    assert load(file) == DEFAULTS


# The container.


def test_the_container_file_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed (dependency group dev): NOT TESTED")
    done = subprocess.run(
        [hadolint, "--no-color", DEPLOY / "Containerfile"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_container_needs_no_root_and_names_no_index() -> None:
    instructions = [line.split() for line in CONTAINERFILE.splitlines() if line and line[0].isupper()]
    users = [words[1] for words in instructions if words[0] == "USER"]
    assert users
    assert users[-1] not in {"root", "0"}
    assert not re.search(r"https?://|--index-url|--extra-index-url|--trusted-host", CONTAINERFILE)


def test_what_the_container_is_built_from_exists_and_is_not_ignored() -> None:
    rules = (DEPLOY / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    assert "*" in rules
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, flags=re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert sources == set(kept)
    for source in sources:
        assert (ROOT / source).exists(), source


def _set_by_container() -> dict[str, str]:
    return dict(re.findall(rf"({ENVIRONMENT_PREFIX}\w+)=(\S+)", CONTAINERFILE))


def test_the_container_sets_settings_that_exist(clean_environment: pytest.MonkeyPatch) -> None:
    assert _set_by_container()
    for name, value in _set_by_container().items():
        clean_environment.setenv(name, value)
    settings = load()
    assert settings.server.host == settings.metrics.host == "0.0.0.0"
    assert settings.store.url == "sqlite:////var/lib/allocator/allocator.db"


def test_the_container_exposes_the_default_ports() -> None:
    (ports,) = re.findall(r"^EXPOSE (.*)$", CONTAINERFILE, flags=re.MULTILINE)
    assert ports.split() == [str(DEFAULTS.server.port), str(DEFAULTS.metrics.port)]


# Compose.


def test_images_are_pinned_or_built_here() -> None:
    for name, service in COMPOSE["services"].items():
        _, separator, tag = service["image"].rpartition(":")
        assert separator, name
        assert "build" in service or re.fullmatch(r"v?\d+\.\d+\.\d+", tag), f"{name}: {service['image']}"


def test_ports_are_published_to_this_host_only() -> None:
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_services_have_no_privileges() -> None:
    for service in COMPOSE["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_what_is_mounted_exists_and_what_is_kept_is_declared() -> None:
    kept = set()
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
                assert volume.endswith(":ro")
            else:
                kept.add(source)
    assert kept == set(COMPOSE["volumes"])


def test_prometheus_gets_every_file_it_is_configured_with() -> None:
    configured = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    wanted = {*configured["rule_files"], *configured["scrape_configs"][0]["file_sd_configs"][0]["files"]}
    mounted = {Path(volume.split(":")[1]).name for volume in COMPOSE["services"]["prometheus"]["volumes"]}
    assert wanted | {"prometheus.yml"} <= mounted


def test_compose_sets_settings_that_exist(clean_environment: pytest.MonkeyPatch) -> None:
    for name, value in COMPOSE["services"]["allocator"]["environment"].items():
        clean_environment.setenv(name, value)
    assert load().log.format == "json"


def test_compose_scrapes_the_allocator_where_it_listens() -> None:
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "targets.compose.yml").read_text(encoding="utf-8"))
    assert group["targets"] == [f"allocator:{DEFAULTS.metrics.port}"]
    assert "allocator" in COMPOSE["services"]


def test_everything_gets_longer_to_stop_than_calls_get_to_finish() -> None:
    grace = int(COMPOSE["services"]["allocator"]["stop_grace_period"].removesuffix("s"))
    (timeout,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, flags=re.MULTILINE)
    assert min(grace, int(timeout)) > DEFAULTS.server.drain_seconds


# systemd.


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists: systemd looks whether it does."""
    file = tmp_path / "allocator.service"
    file.write_text(re.sub(r"/opt/allocator/bin/allocator", "/bin/true", UNIT), encoding="utf-8")
    return file


def _systemd_analyze(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [program("systemd-analyze"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.system
def test_systemd_understands_every_line_of_the_unit(unit: Path) -> None:
    assert _systemd_analyze("verify", "--man=no", str(unit)) == (0, "")


@pytest.mark.system
def test_systemd_would_notice_a_line_it_does_not_understand(unit: Path) -> None:
    unit.write_text(UNIT.replace("ProtectHome=yes", "ProtectHoem=yes"), encoding="utf-8")
    assert "ProtectHoem" in _systemd_analyze("verify", "--man=no", str(unit))[1]


@pytest.mark.system
def test_the_service_is_confined(unit: Path) -> None:
    code, output = _systemd_analyze("security", "--offline=true", "--threshold=20", str(unit))
    assert code == 0, output


def test_the_unit_names_the_configuration_by_its_variable() -> None:
    assert f"Environment={CONFIG_VARIABLE}=/etc/allocator/allocator.toml" in UNIT


# The page about all this.


def test_the_readme_names_every_file_and_no_other() -> None:
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([^`]+)`", page, flags=re.MULTILINE))
    files = {
        str(file.relative_to(DEPLOY))
        for file in DEPLOY.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name not in {"__init__.py", "README.md"}
    }
    unlisted = {file for file in files if not any(fnmatch.fnmatch(file, pattern) for pattern in listed)}
    stale = {pattern for pattern in listed if not any(fnmatch.fnmatch(file, pattern) for file in files)}
    assert (unlisted, stale) == (set(), set())
