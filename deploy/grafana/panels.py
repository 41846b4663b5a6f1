"""What the dashboard shows: rows of charts, each a question with its queries. `dashboard.py` draws them."""

from __future__ import annotations

from collections.abc import Mapping

from allocator.metrics import names
from deploy.grafana.queries import GRAFANA_UNITS, Chart, Look, Query, quantile, quantiles, rate, series, total
from deploy.grafana.queue_panels import GUARANTEES, QUEUES, SIDE_CONSTRAINTS


def _cluster_utilization(resource: str) -> str:
    allocated, capacity = (series(names.AMOUNTS[resource, role]) for role in ("allocated", "capacity"))
    return f"sum({allocated}) / (sum({capacity}) > 0)"


OVERVIEW = (
    Chart(
        "Firing alerts",
        "Of this program's own rules; 0 also without an alerting rule.",
        (Query('count(ALERTS{job="$job",alertstate="firing"}) or vector(0)'),),
        look=Look.NUMBER,
        width=3,
        warn_above=0,
    ),
    Chart(
        "Running jobs",
        "After the last round.",
        (Query(total(names.JOBS, 'state="running"')),),
        look=Look.NUMBER,
        width=3,
    ),
    Chart(
        "Waiting jobs",
        "After the last round.",
        (Query(total(names.JOBS, 'state="pending"')),),
        look=Look.NUMBER,
        width=3,
    ),
    Chart(
        "Ready nodes",
        "Nodes whose agents report, cordoned and draining ones included.",
        (Query(total(names.NODES, 'health="ready"')),),
        look=Look.NUMBER,
        width=3,
    ),
    Chart(
        "Nodes lost or in trouble",
        "Nodes whose agents have fallen silent, or can begin nothing (a full disk).",
        (Query(total(names.NODES, 'health="lost"') + " + " + total(names.NODES_IN_TROUBLE)),),
        look=Look.NUMBER,
        width=3,
        warn_above=0,
    ),
    Chart(
        "Since the last round",
        "Longer than a few intervals: rounds hang, or the daemon is down.",
        (Query(f"time() - {series(names.LAST_ROUND)}"),),
        unit="s",
        look=Look.NUMBER,
        width=3,
        warn_above=30,
    ),
    Chart(
        "Gap",
        "Proven distance of the last round from the optimum.",
        (Query(series(names.GAP)),),
        unit="percentunit",
        look=Look.NUMBER,
        width=3,
        warn_above=0.01,
    ),
    Chart(
        "Version",
        "Of the running program.",
        (Query(series(names.BUILD), "{{version}}"),),
        look=Look.NUMBER,
        width=3,
    ),
    Chart(
        "Utilization of the cluster",
        "Held by running jobs, as part of what ready nodes have.",
        tuple(Query(_cluster_utilization(resource), resource) for resource in names.RESOURCE_UNITS),
        unit="percentunit",
        width=12,
    ),
    Chart(
        "Jobs",
        "Live jobs by state.",
        (Query(f"sum by (state) ({series(names.JOBS)})", "{{state}}"),),
        look=Look.STACK,
        width=12,
    ),
)

PRICES = (
    Chart(
        "Price of the whole capacity as part of all budgets",
        "0: nothing is short. The more, the more jobs bid for this resource rather than others.",
        (Query(series(names.PRICE_BUDGET), "{{flavor}} {{resource}}"),),
        unit="percentunit",
        width=12,
    ),
    Chart(
        "Price of one display unit",
        "What one more core, GPU, GiB, GB/s or unit would add to the objective.",
        (Query(series(names.PRICE), "{{flavor}} {{resource}}"),),
        unit="sci",
        width=12,
    ),
)


def _amounts(resource: str) -> Chart:
    by = "flavor, resource" if resource == names.EXTRA else "flavor"
    legend = "{{flavor}} {{resource}}" if resource == names.EXTRA else "{{flavor}}"
    return Chart(
        f"{resource} by flavor",
        f"In {names.RESOURCE_UNITS[resource].words}: what ready nodes have, what live jobs ask for, what they hold.",
        tuple(
            Query(f"sum by ({by}) ({series(names.AMOUNTS[resource, role])})", f"{legend} {role}")
            for role in ("capacity", "requested", "allocated")
        ),
        unit=GRAFANA_UNITS[resource],
    )


CAPACITY = (
    *(_amounts(resource) for resource in names.RESOURCE_UNITS),
    Chart(
        "Utilization",
        "Held by running jobs, as part of what ready nodes have.",
        (Query(series(names.UTILIZATION), "{{flavor}} {{resource}}"),),
        unit="percentunit",
    ),
    Chart(
        "Nodes",
        "By what is heard of them and what the operator wants.",
        (Query(f"sum by (health, availability) ({series(names.NODES)})", "{{health}} {{availability}}"),),
        look=Look.STACK,
    ),
    Chart(
        "Work lost to preemptions",
        "Resource-seconds thrown away per second, that is, how much of each resource worked for nothing.",
        tuple(Query(rate(names.LOST[resource], ""), resource) for resource in ("cpu", "gpu")),
    ),
)

ROUNDS = (
    Chart(
        "Rounds by outcome",
        "Per second. Anything but optimal deserves a look.",
        (Query(rate(names.ROUNDS, "outcome"), "{{outcome}}"), Query(rate(names.BROKEN_ROUNDS, ""), "broken")),
        look=Look.STACK,
    ),
    Chart(
        "Duration of a round",
        "From the snapshot to the push, against the configured interval.",
        (*quantiles(names.ROUND_DURATION), Query(series(names.ROUND_INTERVAL), "interval")),
        unit="s",
    ),
    Chart(
        "Mean duration of the stages",
        "Where a round spends its time.",
        (
            Query(
                f"sum by (stage) (rate({series(names.STAGE_DURATION, suffix='_sum')}[$__rate_interval])) / "
                f"sum by (stage) (rate({series(names.STAGE_DURATION, suffix='_count')}[$__rate_interval]))",
                "{{stage}}",
            ),
        ),
        unit="s",
        look=Look.STACK,
    ),
    Chart(
        "Objective and bound",
        "The optimum lies between them.",
        (Query(series(names.OBJECTIVE), "objective"), Query(series(names.BOUND), "bound")),
    ),
    Chart(
        "Gap and rounding loss",
        "Gap: distance of the shares from the optimum. Budgets: what of them changed hands last, where they and prices "
        "do not agree. Rounding loss: what whole gangs on whole nodes lose against the optimum.",
        (
            Query(series(names.GAP), "gap"),
            Query(series(names.BUDGETS_MOVED), "budgets"),
            Query(series(names.ROUNDING_LOSS), "rounding loss"),
        ),
        unit="percentunit",
    ),
    Chart(
        "Version of the policy",
        "That rounds decide by; 0 until one is applied.",
        (Query(series(names.POLICY_VERSION), "version"),),
    ),
    Chart(
        "Solver that answered",
        "Rounds per second.",
        (Query(rate(names.SOLVES, "solver"), "{{solver}}"),),
        look=Look.STACK,
    ),
    Chart(
        "Iterations per solve",
        "Mean over the interval.",
        (Query(f"{rate(names.ITERATIONS, 'solver')} / {rate(names.SOLVES, 'solver')}", "{{solver}}"),),
    ),
    Chart(
        "Changes",
        "Jobs per second: started, moved, preempted; and changes that came too late.",
        (
            Query(rate(names.STARTS, ""), "started"),
            Query(rate(names.MOVES, ""), "moved"),
            Query(rate(names.RESIZES, ""), "resized"),
            Query(rate(names.PREEMPTIONS, ""), "preempted"),
            Query(rate(names.REJECTED, ""), "rejected at commit"),
        ),
    ),
    Chart(
        "Preemptions by reason",
        "Jobs per second.",
        (Query(rate(names.PREEMPTIONS, "reason"), "{{reason}}"),),
        look=Look.STACK,
    ),
)

INTAKE = (
    Chart(
        "Jobs in and out",
        "Jobs per second, submitted and finished.",
        (
            Query(rate(names.SUBMITTED, "result"), "{{result}}"),
            Query(rate(names.FINISHED, "state"), "{{state}}"),
        ),
    ),
    Chart(
        "Commands",
        "Per second, by kind.",
        (Query(rate(names.COMMANDS, "kind"), "{{kind}}"),),
        look=Look.STACK,
    ),
    Chart(
        "Refused commands",
        "Per second, by kind and code.",
        (Query(rate(names.COMMANDS, "kind, code", 'code!="ok"'), "{{kind}} {{code}}"),),
    ),
    Chart(
        "Commands per commit",
        "How many share one durable write.",
        quantiles(names.BATCH_COMMANDS),
    ),
    Chart(
        "Duration of a commit",
        "Until it is durable.",
        quantiles(names.BATCH_DURATION),
        unit="s",
    ),
    Chart(
        "Oldest heartbeat",
        "Of a node that still counts as ready.",
        (Query(series(names.HEARTBEAT_AGE), "age"),),
        unit="s",
    ),
    Chart(
        "Waiting for departure",
        "Jobs that were placed, and begin when what runs of them elsewhere has ended.",
        (Query(series(names.WAITING_FOR_DEPARTURE), "jobs"),),
    ),
    Chart(
        "Calls",
        "Per second, by method.",
        (Query(rate(names.RPCS, "method"), "{{method}}"),),
        unit="reqps",
    ),
    Chart(
        "Failed calls",
        "Per second, by method and code.",
        (Query(rate(names.RPCS, "method, code", 'code!="OK"'), "{{method}} {{code}}"),),
        unit="reqps",
    ),
    Chart(
        "Duration of calls, 99 %",
        "Unary calls, by method.",
        (Query(quantile(0.99, names.RPC_DURATION, "method"), "{{method}}"),),
        unit="s",
    ),
    Chart(
        "Watchers",
        "Open streams.",
        (Query(f"sum by (stream) ({series(names.WATCHERS)})", "{{stream}}"),),
        look=Look.STACK,
    ),
    Chart(
        "Pushes",
        "Messages per second; replaced ones never reached a slow reader, a newer one did.",
        (
            Query(rate(names.PUSHES, "stream"), "{{stream}}"),
            Query(rate(names.COALESCED, "stream"), "{{stream}} replaced"),
        ),
    ),
    Chart(
        "The daemon's CPU and memory",
        "Cores in use, and resident bytes on the second line.",
        (
            Query('rate(process_cpu_seconds_total{job="$job"}[$__rate_interval])', "cores"),
            Query('process_resident_memory_bytes{job="$job"} / 2^30', "GiB"),
        ),
    ),
    Chart(
        "Scrapes without a part",
        "Some part of the daemon could not be asked.",
        (Query(rate(names.SOURCE_FAILURES, "source"), "{{source}}"),),
    ),
)

ROWS: Mapping[str, tuple[Chart, ...]] = {
    "Overview": OVERVIEW,
    "Queues": QUEUES,
    "Quotas and guarantees": GUARANTEES,
    "Prices": PRICES,
    "Side constraints": SIDE_CONSTRAINTS,
    "Capacity by flavor": CAPACITY,
    "Rounds": ROUNDS,
    "Intake, push and API": INTAKE,
}
"""The dashboard, from top to bottom."""
