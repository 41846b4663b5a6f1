"""The project's own tables of a workload: which files there are, which columns they have, and what each means.

`SCHEMA.md` beside this file is written from here: `python -m simulations.traces.own_schema`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NEEDED = None
"""As a default: the column must be there, and no value may be empty."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column. `kind` is text, number, integer, truth (true or false) or json; `default` is what an empty value or a
    column that is not there means, in words where it is not a value.
    """

    name: str
    kind: str
    unit: str
    meaning: str
    default: str | None = ""


AMOUNTS = (
    Field("cores", "number", "cores", "CPU", "0"),
    Field("gpus", "number", "GPUs", "GPUs: whole ones, or for a replica a part of one", "0"),
    Field("memory_gib", "number", "GiB", "memory", "0"),
    Field("bandwidth_gb_per_second", "number", "GB/s", "network bandwidth", "0"),
    Field("disk_gib", "number", "GiB", "disk", "0"),
    Field("extra", "json", "", 'amounts of anything else, such as {"fpga": 2}', "{}"),
)

NODES = (
    Field("node", "text", "", "name, each once", NEEDED),
    Field("flavor", "text", "", "kind of node; jobs name the flavors they accept", NEEDED),
    *AMOUNTS,
    Field("labels", "json", "", 'such as {"rack": "r1"}', "{}"),
    Field("taints", "json", "", "only jobs that tolerate them all are placed here", "{}"),
    Field(
        "capabilities",
        "json",
        "",
        'what its engine can do, such as ["resize_cpu"]: of resize_cpu, resize_gpu, change_replicas, suspend, '
        "limit_bandwidth, split_cores, split_gpus, place_replicas; [] for nothing",
        "everything",
    ),
)

QUEUES = (
    Field("queue", "text", "", "name, each once; a/b lies below a", NEEDED),
    Field("weight", "number", "1", "part of its parent's budget, relative to its siblings", "1"),
    Field("priority", "integer", "1", "siblings of a higher one are served first", "0"),
    Field("discipline", "text", "", "fair or fifo: how its own jobs share", "fair"),
    Field("max_live_jobs", "integer", "jobs", "most pending and running ones", "no bound"),
    Field("cordoned", "truth", "", "takes no new jobs", "false"),
    Field(
        "quotas",
        "json",
        "",
        'such as [{"flavor": "a100", "resource": "gpu", "nominal": 16, "borrowing_limit": 8, "lending_limit": 4}], in '
        "cores, GPUs, GiB, GB/s; a limit that is left out is none",
        "[]",
    ),
)

SHAPES = (
    Field("shape", "text", "", "name; one row for each way to run the jobs of this shape", NEEDED),
    Field("flavor", "text", "", "of the nodes", NEEDED),
    Field("replicas", "integer", "1", "of the gang, which runs whole or not at all", "1"),
    *AMOUNTS,
    Field("throughput", "number", "work/s", "of the whole gang; only ratios within a shape count", "1"),
    Field("declared", "truth", "", "false: nobody tells the scheduler how fast it is there", "true"),
)

JOBS = (
    Field("job", "text", "", "name, each once", NEEDED),
    Field("submit_s", "number", "s", "when it was submitted", NEEDED),
    Field("run_s", "number", "s", "true run time in its fastest way to run, undisturbed", NEEDED),
    Field("queue", "text", "", "of the queues, or any name if there is no such file", "default"),
    Field("start_s", "number", "s", "when it started; only for --carry-in", "not known"),
    Field("expected_s", "number", "s", "run time that the scheduler is told", "nobody knows"),
    Field("shape", "text", "", "its ways to run, in shapes; then the next nine columns are not read", ""),
    Field("flavors", "text", "", "names with | between them", "every one it fits"),
    Field("throughputs", "text", "work/s", "one for each of the flavors, with | between them", "1 each"),
    Field("replicas", "integer", "1", "of the gang, which runs whole or not at all", "1"),
    *AMOUNTS,
    Field("weight", "number", "1", "relative to the other jobs of its queue", "1"),
    Field("priority_class", "text", "", "low, normal, high, or one of the policy's", "normal"),
    Field("preemptible", "truth", "", "whether it may be stopped for others", "true"),
    Field("restart_cost_s", "number", "s", "work lost whenever it is stopped", "--restart-cost"),
    Field("resizable", "truth", "", "changes its replicas without a restart", "false"),
    Field("divisible", "truth", "", "holds its share of its demand all the time", "false"),
    Field("job_class", "text", "", "jobs of one class learn from each other how fast they are", ""),
    Field("deadline_s", "number", "s", "by which it wants to have ended", "none"),
    Field("minimum_throughput", "number", "work/s", "that it wants at least, over time", "none"),
    Field("labels", "json", "", 'such as {"app": "search"}', "{}"),
    Field("constraints", "json", "", "where it may run, as in the API of the daemon", "{}"),
    Field("true_speed", "json", "", "by flavor, how many times as fast as declared it is in truth", "{}"),
)

TABLES: dict[str, tuple[tuple[Field, ...], bool, str]] = {
    "nodes": (NODES, True, "one row for each node"),
    "jobs": (JOBS, True, "one row for each job, in any order"),
    "shapes": (SHAPES, False, "ways to run that many jobs share; needed where a job's ways differ in more than speed"),
    "queues": (QUEUES, False, "one row for each queue; without it, those that jobs name, with weight 1"),
}
"""(columns, whether the file must be there, what it holds)."""

ABOUT_FILE = "workload.json"


def document() -> str:
    """SCHEMA.md."""
    lines = [
        "# The format `own`",
        "",
        "A folder with tables as Parquet (`nodes.parquet`) or comma-separated text with a header (`nodes.csv`, also",
        "gzipped: `nodes.csv.gz`), in which replays read a workload. `python -m simulations convert --trace X --path P",
        "--out DIR` writes any other format as this one, `python -m simulations validate DIR` says what is in it.",
        "",
        "Columns stand in any order; others are not read. An empty value, or null, is the default. A number may have",
        "decimals and an exponent, an integer not; truth is `true` or `false`; json is a JSON object or list as text.",
        "Times are seconds since one moment, the Unix epoch or any other, the same for all; in Parquet they may be",
        "timestamps. Amounts of a node are for the whole node, those of a job or a shape for one replica.",
        "",
    ]
    for name, (fields, needed, meaning) in TABLES.items():
        lines += [f"## {name}{'' if needed else ' (optional)'}", "", f"{meaning[0].upper()}{meaning[1:]}.", ""]
        lines += ["| column | kind | unit | default | meaning |", "|---|---|---|---|---|"]
        for field in fields:
            default = "**needed**" if field.default is NEEDED else field.default
            meaning_cell = field.meaning.replace("|", "\\|")
            lines.append(f"| `{field.name}` | {field.kind} | {field.unit} | {default} | {meaning_cell} |")
        lines.append("")
    lines += [
        f"## {ABOUT_FILE} (optional)",
        "",
        "`name` (text); `start_s` (number: when the replay begins, at most the first submission, as unless",
        "said); `notes` (a list of sentences: what had to be assumed); `dropped` (an object: by cause, how many jobs",
        "of the source are not among the jobs). They go on into the summary of a replay.",
        "",
        "Dropped by the reader itself are jobs with `no_run_time` and such as fit nowhere (`fits_no_node`).",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    (Path(__file__).parent / "SCHEMA.md").write_text(document(), encoding="utf-8")
