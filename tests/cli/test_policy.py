"""`allocator policy`: checked, shown, compared, tried, and applied on a served cluster."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from allocator.domain.job import JobState
from allocator.intake import commands as c
from allocator.policyfile import read
from tests.builders import configuration, node, spec
from tests.cli.conftest import Run
from tests.client.served import Served

FILE = """version = 1
[objective]
name = "min-delay"
[[queue]]
name = "q"
weight = 3
[[limit]]
name = "few"
most = "50 %"
[[limit.term]]
resource = "gpu"
queues = ["q"]
"""
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def busy(served: Served) -> Served:
    served.populate(("q", "other"), (node("n1"),))
    served.execute(c.SubmitJobs((spec("q", configuration(gpu=4)), spec("other", configuration(gpu=4)))))
    served.round()
    return served


class TestCheck:
    def test_needs_no_daemon(self, run: Run, file: Path) -> None:
        ran = run("policy", "check", str(file), address=NOWHERE)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out == f"{file} is valid: objective min-delay, 1 queue, 3 priority classes, 1 limit\n"
        assert run("policy", "check", str(file), "--json", address=NOWHERE).json == {
            "valid": True, "mistakes": [], "warnings": [],
        }  # fmt: skip

    def test_tells_every_mistake_with_file_line_and_column(self, run: Run, file: Path) -> None:
        file.write_text(FILE.replace("weight", "wieght").replace("min-delay", "min-dela"))
        ran = run("policy", "check", str(file), address=NOWHERE)
        assert (ran.code, ran.out) == (2, "")
        first, second = ran.err.splitlines()
        assert first.startswith(f"error: {file}:3:1: objective.name: must be one of ")
        assert second.startswith(f"error: {file}:6:1: queue[0].wieght: is not known here; did you mean weight?")
        found = run("policy", "check", str(file), "--json", address=NOWHERE)
        assert found.code == 2
        assert [(each["line"], each["field"]) for each in found.json["mistakes"]] == [
            (3, "objective.name"), (6, "queue[0].wieght"),
        ]  # fmt: skip

    def test_against_a_daemon_tells_what_changes_and_what_surprises(self, busy: Served, run: Run, file: Path) -> None:
        file.write_text(FILE + 'flavors = ["a10"]\n')
        ran = run("policy", "check", str(file), "--against")
        assert ran.code == 0
        assert "~ queue q: weight 1 → 3" in ran.out
        assert "+ limit few: at most 50 %, of gpu on a10 by q × 1" in ran.out
        assert f"warning: {file}:13:12: limit[0].term[0].flavors[0]: no node has flavor a10 now" in ran.err
        assert "queue other is not in the file and stays" in ran.err
        ran = run("policy", "check", str(file), "--against", "--prune")
        assert ran.code == 4
        assert "queue other cannot be removed: it holds 1 live job" in ran.err
        found = run("policy", "check", str(file), "--against", "--prune", "--json").json
        assert found["valid"]
        assert "cannot be removed" in found["refusal"]
        assert "- queue other" in found["changes"]

    def test_files_that_cannot_be_read(self, run: Run, tmp_path: Path) -> None:
        ran = run("policy", "check", str(tmp_path / "none.toml"), address=NOWHERE)
        assert (ran.code, "cannot be read: No such file" in ran.err) == (2, True)
        (tmp_path / "odd.toml").write_bytes(b"version = 1\n\xff")
        assert "odd.toml:2: is not UTF-8" in run("policy", "check", str(tmp_path / "odd.toml"), address=NOWHERE).err

    def test_standard_input(self, run: Run) -> None:
        ran = run("policy", "check", "-", stdin="version = 1\nx = 1", address=NOWHERE)
        assert (ran.code, ran.err.startswith("error: <stdin>:2:1: x: is not known here")) == (2, True)


class TestApply:
    def test_shows_what_changes_and_is_followed_by_the_next_round(self, busy: Served, run: Run, file: Path) -> None:
        ran = run("policy", "apply", str(file), "--comment", "because", "--author", "me")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.splitlines() == [
            "~ objective proportional → min-delay",
            "~ queue q: weight 1 → 3",
            "+ limit few: at most 50 %, of gpu by q × 1",
            "policy 1 is in force from the next round on",
        ]
        assert busy.round().policy_version == 1
        assert "policy      version 1 (allocator policy show)" in run("status").out
        assert run("round", "2", "--json").code in (0, 2)
        history = run("policy", "history").out
        assert "because" in history
        assert "me" in history
        assert run("policy", "history", "--json").json[0]["version"] == 1

    def test_what_is_shown_can_be_applied_again_and_changes_nothing(self, busy: Served, run: Run, file: Path) -> None:
        assert run("policy", "apply", str(file)).code == 0
        before = busy.store.snapshot(0.0)
        shown = run("policy", "show").out
        assert shown.startswith("# Policy 1, applied ")
        again = run("policy", "apply", "-", stdin=shown)
        assert again.out.splitlines() == ["nothing changes", "policy 1 is in force as before"]
        assert busy.store.snapshot(0.0) == before

    def test_mistakes_and_refusals_apply_nothing(self, busy: Served, run: Run, file: Path) -> None:
        ran = run("policy", "apply", str(file), "--prune")
        assert (ran.code, "queue other cannot be removed" in ran.err) == (4, True)
        ran = run("policy", "apply", str(file), "--expect-version", "3")
        assert (ran.code, "version 0 is in force, and not 3" in ran.err) == (4, True)
        file.write_text("version = 3")
        ran = run("policy", "apply", str(file))
        assert (ran.code, f"{file}:1:1: version: must be 1" in ran.err) == (2, True)
        found = run("policy", "apply", str(file), "--json")
        assert (found.code, '"kind": "InvalidInput"' in found.err) == (2, True)
        assert busy.store.applied_policy() is None

    def test_json(self, busy: Served, run: Run, file: Path) -> None:
        found = run("policy", "apply", str(file), "--json").json
        assert (found["policy"]["version"], len(found["changes"])) == (1, 3)

    def test_a_dry_run_tells_what_the_next_round_would_do_and_applies_nothing(
        self, busy: Served, run: Run, file: Path
    ) -> None:
        revision = busy.store.current_revision()
        ran = run("policy", "apply", str(file), "--dry-run")
        assert ran.code == 0, ran
        assert "~ queue q: weight 1 → 3" in ran.out
        assert "Queues (as things are → with the changes)" in ran.out
        assert "nothing was applied" in ran.err
        found = run("policy", "apply", str(file), "--dry-run", "--json").json
        assert set(found) == {"changes", "warnings", "simulation"}
        assert found["simulation"]["after"]["summary"]["fairness"] == 2.0
        refused = run("policy", "apply", str(file), "--dry-run", "--prune")
        assert (refused.code, "cannot be removed" in refused.err) == (4, True)
        assert busy.store.current_revision() == revision


class TestShow:
    def test_the_daemons_own_is_a_policy_file_too(self, busy: Served, run: Run) -> None:
        for command in (("policy",), ("policy", "show")):
            shown = run(*command).out
            assert shown.startswith("# No policy was applied yet")
            document = read(shown).document
            assert document is not None
            assert [queue.name for queue in document.queues] == ["other", "q"]
        found = run("policy", "show", "--json").json
        assert (found["version"], found["time"]) == (0, None)

    def test_as_it_was_sent_and_earlier_ones(self, busy: Served, run: Run, file: Path) -> None:
        file.write_text("# mine\n" + FILE)
        assert run("policy", "apply", str(file)).code == 0
        assert run("policy", "show", "--as-sent").out == "# mine\n" + FILE
        file.write_text("version = 1")
        assert run("policy", "apply", str(file)).code == 0
        assert FILE in run("policy", "show", "--version", "1").out
        assert run("policy", "show", "--version", "7").code == 3


def test_classes_of_the_policy_are_completed(busy: Served, run: Run) -> None:
    classes = '[[priority_class]]\nname = "{}"\npriority = 0\n'
    busy.execute(c.CancelJobs(("j1", "j2")))
    run("policy", "apply", "-", stdin="version = 1\n" + classes.format("normal") + classes.format("night"))
    submitted = run("submit", "--queue", "q", "--cpu", "1", "--flavor", "a100", "--priority-class", "night")
    assert submitted.code == 0, submitted
    refused = run("submit", "--queue", "q", "--cpu", "1", "--flavor", "a100", "--priority-class", "high")
    assert (refused.code, "must be one of normal, night; got 'high'" in refused.err) == (2, True)


class TestLimitsBelowUse:
    """One of the two queues runs a job of 4 GPUs: the first of the file."""

    LOWER = (
        'version = 1\n[[queue]]\nname = "q"\n'
        'quota = [{ flavor = "a100", resource = "gpu", nominal = 1, borrow = 2 }]\n[[queue]]\nname = "other"\n'
        '[[limit]]\nname = "few"\nmost = 1.5\nunit = "kW"\n[[limit.term]]\nresource = "gpu"\nper_unit = 0.5\n'
    )

    def test_check_and_apply_say_by_how_much_and_what_happens(self, busy: Served, run: Run, file: Path) -> None:
        (job,) = busy.store.list_jobs(states=(JobState.RUNNING,))
        swapped = {"q": "other", "other": "q"} if job.spec.queue == "other" else {}
        file.write_text(re.sub('"(q|other)"', lambda name: f'"{swapped.get(name[1], name[1])}"', self.LOWER))
        told = ": nobody is stopped for it, and nobody that it counts starts before so much ended"
        for ran in (
            run("policy", "check", str(file), "--against"),
            run("policy", "apply", str(file), "--dry-run"),
            run("policy", "apply", str(file)),
        ):
            assert ran.code == 0, ran
            quota = f"{file}:4:60: queue[0].quota[0].borrow: 4 of it are in use, 1 more than it would allow{told}"
            limit = f"{file}:9:1: limit[0].most: 2 of it are in use, 0.5 more than it would allow{told}"
            assert [line for line in ran.err.splitlines() if "in use" in line] == [
                f"warning: {quota}", f"warning: {limit}",
            ]  # fmt: skip
        busy.round()
        assert busy.store.get_job(job.id).state is JobState.RUNNING, "nobody is stopped"
        status = {each["name"]: each for each in run("status", "--json").json["limit_usage"]}
        assert (status["few"]["used"], status["few"]["most"]) == (2.0, 1.5)
        assert "0.5 kW: nobody is stopped for it" in run("explain", "price", "limit/few").out

    def test_enough_is_no_warning(self, busy: Served, run: Run, file: Path) -> None:
        file.write_text(self.LOWER.replace("borrow = 2", "borrow = 3").replace("1.5", "2"))
        ran = run("policy", "apply", str(file), "--json")
        assert (ran.code, ran.json["warnings"]) == (0, [])


def test_history_as_json_has_no_files_and_show_has(busy: Served, run: Run, file: Path) -> None:
    assert run("policy", "history", "--json").json == []
    assert run("policy", "show", "--json").json["version"] == 0, "the daemon's own"
    run("policy", "apply", str(file), "--comment", "because", "--author", "me")
    (found,) = run("policy", "history", "--json").json
    assert (set(found), found["version"]) == ({"version", "time", "author", "comment"}, 1)
    shown = run("policy", "show", "--json").json
    assert set(shown) == set(found) | {"text", "sent_text"}
    assert shown["sent_text"] == file.read_text()
