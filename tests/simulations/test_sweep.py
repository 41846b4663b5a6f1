"""Sweeps: what an experiment's file means, that an interrupted one goes on, and that a real Slurm runs the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from allocator.domain.errors import FailedPrecondition, InvalidInput
from simulations.commands.replay import replay_command
from simulations.sweep import running, slurm
from simulations.sweep.arguments import Options
from simulations.sweep.experiment import Cell, Experiment, read_experiment
from simulations.sweep.folder import SweepFolder
from simulations.sweep.running import Standing
from tests import slurm_cluster
from tests.slurm_cluster import SlurmCluster

SHORT = '[options]\ntrace = "synthetic"\nscenario = "small"\nhorizon = 0.2\ntimings = false\n'


def read(folder: Path, text: str) -> Experiment:
    file = folder / "mine.toml"
    file.write_text(text, encoding="utf-8")
    return read_experiment(file, Options(replay_command))


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simulations", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


# --- what the file means ---


def test_every_combination_of_every_case_is_a_replay(tmp_path: Path) -> None:
    text = (
        SHORT
        + "[vary]\nseed = [0, 1]\nhysteresis = [0, 300]\n"
        + '[[cases]]\nname = "as it is"\n[[cases]]\nname = "in turns"\nfairness = "max-min"\nhysteresis = 7\n'
    )
    cells = read(tmp_path, text).cells
    assert [cell.label for cell in cells[:4]] == [
        f"as-it-is+seed={seed}+hysteresis={margin}" for seed in (0, 1) for margin in (0, 300)
    ]
    assert dict(cells[3].varied) == {"case": "as it is", "seed": "1", "hysteresis": "300"}
    assert set(cells[3].arguments) >= {"--trace=synthetic", "--seed=1", "--hysteresis=300", "--no-timings"}


def test_what_a_case_says_is_not_varied(tmp_path: Path) -> None:
    text = SHORT + '[vary]\nseed = [0]\nhysteresis = [0]\n[[cases]]\nname = "in turns"\nhysteresis = 7\n'
    (cell,) = read(tmp_path, text).cells
    assert "--hysteresis=7" in cell.arguments
    assert "--hysteresis=0" not in cell.arguments
    assert cell.label == "in-turns+seed=0"


def test_paths_are_seen_from_the_file_and_may_hold_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACES_OF_MINE", str(tmp_path / "traces"))
    text = '[options]\ntrace = "openb"\npath = "$TRACES_OF_MINE/openb"\npolicy = "site.toml"\n'
    (cell,) = read(tmp_path, text).cells
    assert f"--path={tmp_path}/traces/openb" in cell.arguments
    assert f"--policy={tmp_path}/site.toml" in cell.arguments
    monkeypatch.delenv("TRACES_OF_MINE")
    with pytest.raises(InvalidInput, match=r"mine.toml: only.path: needs the environment variable TRACES_OF_MINE"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[options", r"mine.toml: cannot be read: .*\(at end of document\)"),
        ("[varying]\nseed = [1]\n", "varying: is not known; an experiment has about, options, vary and cases"),
        ("[vary]\nseed = 3\n", r"vary.seed: must be a list of values, such as \[0, 1, 2\]; got 3"),
        ("[vary]\nseed = []\n", "vary.seed: must be a list of values"),
        ("[[cases]]\nhysteresis = 3\n", r"cases\[0\].name: must be a text that tells it from the other cases"),
        (SHORT + "hysterisis = 3\n", "only.hysterisis: is no option of replay; did you mean hysteresis?"),
        (SHORT + 'out = "x"\n', "only.out: is what the sweep sets itself"),
        (SHORT + 'interval = "often"\n', "only.options: .*--interval"),
        (SHORT + "sharing = 3\n", "only.sharing: must be true or false, got 3"),
        (SHORT + "interval = true\n", "only.interval: takes a value, not true"),
        (SHORT + '[vary]\nscheduler = ["fifo", "filo"]\n', "scheduler=filo.scheduler: must be one of .*fifo"),
        (SHORT + 'fairness = "proportionate"\n', "only.fairness: must be one of"),
        (SHORT + "[vary]\nseed = [1, 1]\n", "vary: gives several replays the same name: seed=1"),
        ("[vary]\nseed = [" + "0," * 20000 + "]\n", "vary: makes 20,000 replays; at most 10,000"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_by_its_place(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=words):
        read(tmp_path, text)


# --- running it here ---


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(experiment, folder) of a sweep that is done."""
    folder = tmp_path_factory.mktemp("swept")
    experiment = folder / "mine.toml"
    experiment.write_text(SHORT + "[vary]\nseed = [0, 1]\n", encoding="utf-8")
    done = run("sweep", experiment, "--out", folder / "out", "--processes", 2)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 replays are done" in done.stdout
    return experiment, folder / "out"


def test_each_replay_leaves_what_replay_itself_would(swept: tuple[Path, Path], tmp_path: Path) -> None:
    _, out = swept
    arguments = ("--trace", "synthetic", "--scenario", "small", "--horizon", 0.2, "--no-timings", "--seed", 1)
    assert run("replay", *arguments, "--out", tmp_path / "alone").returncode == 0
    for file in (tmp_path / "alone").iterdir():
        assert (out / "seed=1" / file.name).read_bytes() == file.read_bytes(), file.name


def test_what_is_done_is_not_done_again_and_what_was_added_is(swept: tuple[Path, Path], tmp_path: Path) -> None:
    experiment, out = swept
    before = (out / "seed=0" / "summary.json").stat().st_mtime_ns
    listed = json.loads(run("sweep", experiment, "--out", out, "--dry-run", "--json").stdout)
    assert [(one["label"], one["done"]) for one in listed] == [("seed=0", True), ("seed=1", True)]
    more = tmp_path / "mine.toml"
    more.write_text(SHORT + "[vary]\nseed = [0, 1, 2]\n", encoding="utf-8")
    done = run("sweep", more, "--out", out, "--json")
    assert json.loads(done.stdout) | {"folder": ""} == {"folder": "", "replays": 3, "done": 3, "failed": []}
    assert (out / "seed=0" / "summary.json").stat().st_mtime_ns == before
    assert (out / "seed=2" / "summary.json").exists()


def test_one_that_fails_says_why_and_spoils_none(tmp_path: Path) -> None:
    experiment = tmp_path / "mine.toml"
    experiment.write_text(SHORT + '[vary]\nweighting = ["none", "wages"]\n', encoding="utf-8")
    done = run("sweep", experiment, "--out", tmp_path / "out", "--processes", 1, "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["done"]) == (1, 1)
    (failed,) = found["failed"]
    assert failed["label"] == "weighting=wages"
    assert failed["why"].startswith("error: weighting: ")


def test_another_experiment_does_not_end_up_in_the_same_folder(swept: tuple[Path, Path], tmp_path: Path) -> None:
    _, out = swept
    other = tmp_path / "other.toml"
    other.write_text(SHORT, encoding="utf-8")
    done = run("sweep", other, "--out", out)
    assert (done.returncode, "holds the experiment 'mine', not 'other'" in done.stderr) == (4, True)


def test_interrupted_it_says_how_far_it_is_and_leaves_nothing_running(tmp_path: Path) -> None:
    experiment = tmp_path / "mine.toml"
    text = SHORT.replace("horizon = 0.2", "horizon = 1000").replace("small", "large")
    experiment.write_text(text + "[vary]\nseed = [0, 1, 2]\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "simulations",
        "sweep",
        str(experiment),
        f"--out={tmp_path / 'out'}",
        "--processes=1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        log = tmp_path / "out" / "logs" / "seed=0.log"
        end = time.monotonic() + 60
        while not log.exists() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, complained = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "0 of 3 replays are done, the others were stopped; the same command goes on from here" in complained
    assert not _running(tmp_path / "out")


def test_an_interrupt_while_a_replay_is_being_started_stops_that_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[subprocess.Popen[bytes]] = []

    def started(*_: object) -> subprocess.Popen[bytes]:
        begun.append(subprocess.Popen(["sleep", "600"]))
        os.kill(os.getpid(), signal.SIGINT)
        return begun[0]

    monkeypatch.setattr(running, "_started", started)
    with pytest.raises(KeyboardInterrupt):
        running.run_here(SweepFolder(tmp_path), [Cell(0, "one", {}, ())], 1, lambda *_: None)
    assert [process.poll() for process in begun] == [-signal.SIGTERM]


def _running(folder: Path) -> list[str]:
    """Command lines of processes that work for this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"sweep-cell {folder.resolve()}" in line:
            found.append(line)
    return found


# --- in a real Slurm ---


def test_array_indices_are_written_as_ranges() -> None:
    assert slurm._ranges([9, 0, 1, 2, 3, 7, 10]) == "0-3,7,9-10"


@pytest.mark.skipif(bool(slurm_cluster.missing()), reason=f"no Slurm here: {slurm_cluster.missing()}")
def test_a_job_array_runs_it_and_goes_on_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three replays on three node daemons; one of them cannot be, and is tried again when it can."""
    experiment = read(tmp_path, SHORT + "[vary]\nseed = [0, 1, 2]\n")
    folder = SweepFolder(tmp_path / "out")
    folder.open(experiment)
    (tmp_path / "out" / "seed=1").write_text("in the way", encoding="utf-8")
    heard: list[tuple[str, Standing]] = []

    def hear(cell: Cell, standing: Standing) -> None:
        heard.append((cell.label, standing))

    with SlurmCluster(tmp_path / "slurm", nodes=3, extra="MinJobAge=300") as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
        job = slurm.run_in_slurm(folder, experiment.cells, 2, ["--mem=256"], hear, look_seconds=0.2)
        assert job is not None
        ends = {label: standing for label, standing in heard if standing is not Standing.RUNNING}
        assert ends == {"seed=0": Standing.DONE, "seed=1": Standing.FAILED, "seed=2": Standing.DONE}, folder.last_words(
            experiment.cells[1]
        )
        assert "is a file; name a folder for the results" in folder.last_words(experiment.cells[1])
        (tmp_path / "out" / "seed=1").unlink()
        heard.clear()
        missing = [cell for cell in experiment.cells if not folder.is_done(cell)]
        again = slurm.run_in_slurm(folder, missing, 2, [], hear, follow=False)
        cluster.end("slurmctld")
        cluster.start_controller()
        assert slurm.run_in_slurm(folder, missing, 2, [], hear, look_seconds=0.2) is None, "it is queued already"
        assert heard[-1] == ("seed=1", Standing.DONE)
        assert again != job
        with pytest.raises(FailedPrecondition, match=r"the job array was refused: .*partition"):
            slurm.run_in_slurm(
                SweepFolder(_opened(tmp_path / "third", experiment)), missing, 1, ["--partition=nowhere"], hear
            )


def _opened(path: Path, experiment: Experiment) -> Path:
    SweepFolder(path).open(experiment)
    return path


def test_without_slurm_it_says_what_is_missing(tmp_path: Path) -> None:
    experiment = tmp_path / "mine.toml"
    experiment.write_text(SHORT, encoding="utf-8")
    done = run("sweep", experiment, "--out", tmp_path / "out", "--slurm", env={**os.environ, "PATH": ""})
    assert done.returncode == 4
    assert "--slurm: needs sbatch, which is not installed here" in done.stderr
