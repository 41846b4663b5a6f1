"""What the dashboard shows: rows of charts, each a question with its queries. `dashboard.py` draws them."""

from __future__ import annotations

from collections.abc import Mapping

from allocator.metrics import names
from deploy.grafana.queries import Chart, Look, Query, quantile, quantiles, rate, series, total


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

QUEUES = (
    Chart(
        "Fair share",
        "Dominant share of the cluster that the optimum gives.",
        (Query(series(names.FAIR_SHARE), "{{queue}}"),),
        unit="percentunit",
    ),
    Chart(
        "Actual share",
        "Dominant share of the cluster that the queue's jobs hold.",
        (Query(series(names.ACTUAL_SHARE), "{{queue}}"),),
        unit="percentunit",
    ),
    Chart(
        "Missing share",
        "Fair share less actual share. Above 0 for minutes is turn-taking, for hours it is starving.",
        (Query(f"{series(names.FAIR_SHARE)} - {series(names.ACTUAL_SHARE)}", "{{queue}}"),),
        unit="percentunit",
    ),
    Chart(
        "Entitlement",
        "Part of all money by weights, among queues that want something now.",
        (Query(series(names.ENTITLEMENT), "{{queue}}"),),
        unit="percentunit",
    ),
    Chart(
        "Budget and spending",
        "What a queue may spend: more than its entitlement where others cannot spend theirs; and what it pays.",
        (Query(series(names.BUDGET), "{{queue}} may spend"), Query(series(names.SPENT), "{{queue}} spends")),
        unit="percentunit",
    ),
    Chart(
        "Demand, and share by weight",
        "Dominant shares: what its jobs ask for, and its entitlement, or what it could use if that is less.",
        (Query(series(names.DEMAND), "{{queue}} asks"), Query(series(names.WEIGHT_SHARE), "{{queue}} by weight")),
        unit="percentunit",
    ),
    Chart(
        "Fairness error",
        "What a queue holds less what the optimum gives it, inner ones with all below: the largest, and the mean.",
        (
            Query(f"max(abs({series(names.FAIRNESS_ERROR)}))", "largest"),
            Query(f"avg(abs({series(names.FAIRNESS_ERROR)}))", "mean"),
        ),
        unit="percentunit",
    ),
    Chart(
        "Running jobs",
        "After each round.",
        (Query(series(names.JOBS, 'state="running"'), "{{queue}}"),),
        look=Look.STACK,
    ),
    Chart(
        "Waiting jobs",
        "After each round.",
        (Query(series(names.JOBS, 'state="pending"'), "{{queue}}"),),
        look=Look.STACK,
    ),
    Chart(
        "Waiting jobs by cause",
        "Why the last round gave them no place, all queues.",
        (Query(f"sum by (cause) ({series(names.WAITING)})", "{{cause}}"),),
        look=Look.STACK,
    ),
    Chart(
        "Jobs with a deadline or a minimum throughput",
        "At risk: the optimum gives them less than they need.",
        (Query(f"sum by (state) ({series(names.PROMISES)})", "{{state}}"),),
        look=Look.STACK,
    ),
    Chart(
        "Jobs that declared another throughput than was measured",
        "By their own reports or their class's; the measured one is used.",
        (Query(f"sum({series(names.MISDECLARED)})", "jobs"),),
    ),
    Chart(
        "Wait until the first start, median",
        "Of the jobs that started in the interval.",
        (Query(quantile(0.5, names.WAIT, "queue"), "{{queue}}"),),
        unit="s",
    ),
    Chart(
        "Wait until the first start, 90 %",
        "Of the jobs that started in the interval.",
        (Query(quantile(0.9, names.WAIT, "queue"), "{{queue}}"),),
        unit="s",
    ),
    Chart(
        "Weight",
        "Relative to the queue's siblings.",
        (Query(series(names.QUEUE_WEIGHT), "{{queue}}"),),
    ),
)

SIDE_CONSTRAINTS = (
    Chart(
        "Used",
        "What running jobs take of each side constraint of the policy, as a part of what it allows.",
        (Query(f"{series(names.LIMIT_USED)} / ({series(names.LIMIT_MOST)} > 0)", "{{constraint}}"),),
        unit="percentunit",
    ),
    Chart(
        "Price of all that it allows, as part of all budgets",
        "0: it does not bind. Comparable with the prices of capacity.",
        (Query(series(names.LIMIT_BUDGET), "{{constraint}}"),),
        unit="percentunit",
    ),
    Chart(
        "Price of one unit",
        "What one more kW, licence or whatever the constraint counts would add to the objective.",
        (Query(series(names.LIMIT_PRICE), "{{constraint}}"),),
        unit="sci",
    ),
    Chart(
        "Price of what lies in pieces, as part of all budgets",
        "Of each flavor: pieces that are fewer than GPUs alone would allow, and nodes that admit some jobs only.",
        (Query(series(names.PIECES_BUDGET), "{{flavor}}"),),
        unit="percentunit",
    ),
    Chart(
        "Price of one piece",
        "What one more piece of so many GPUs on one node would add to the objective, beside its GPUs.",
        (Query(series(names.PIECES_PRICE), "{{flavor}}: {{size}} GPUs"),),
        unit="sci",
    ),
    Chart(
        "Price of nodes that admit some jobs only",
        "What one more unit there would add to the objective, beside its price.",
        (Query(series(names.NODES_PRICE), "{{flavor}}/{{resource}}"),),
        unit="sci",
    ),
)

_GRAFANA_UNITS: Mapping[str, str] = {
    "cpu": "short", "gpu": "short", "memory": "bytes", "bandwidth": "Bps", "disk": "bytes", names.EXTRA: "short",
}  # fmt: skip


def _quota(resource: str) -> Chart:
    legend = "{{queue}} {{flavor}}" + (" {{resource}}" if resource == names.EXTRA else "")
    return Chart(
        f"{resource} of queues with a quota",
        f"In {names.RESOURCE_UNITS[resource].words}: what their jobs hold, what the optimum gives them, their nominal "
        "quota, and the most they may use; what they leave to others, and what they use beyond their quota.",
        tuple(
            Query(series(names.QUOTAS[resource, role]), f"{legend} {role}")
            for role in ("used", "optimum", "quota", "most", "lent", "borrowed")
        ),
        unit=_GRAFANA_UNITS[resource],
    )


GUARANTEES = (
    Chart(
        "Guarantees that are kept",
        "What running jobs hold of what nominal quotas guarantee them, in worth. Below 1 for minutes is a start that "
        "takes time, for longer it is a promise that is broken.",
        (Query(series(names.GUARANTEE_KEPT), "{{queue}}"),),
        unit="percentunit",
    ),
    Chart(
        "Guarantees that can be kept",
        "The same of what the optimum gives. Below 1: quotas guarantee more than there is.",
        (Query(series(names.GUARANTEE_OPTIMUM), "{{queue}}"),),
        unit="percentunit",
    ),
    Chart(
        "What is guaranteed",
        "Dominant share of the cluster that nominal quotas guarantee to jobs that ask for it now.",
        (Query(series(names.GUARANTEED), "{{queue}}"),),
        unit="percentunit",
    ),
    *(_quota(resource) for resource in ("gpu", "cpu", "memory", "bandwidth", "disk", names.EXTRA)),
    Chart(
        "Prices of limits",
        "What one display unit more that a queue may borrow, or lends, would add to the objective.",
        (Query(series(names.QUOTA_PRICE), "{{queue}} {{flavor}} {{resource}} {{limit}}"),),
        unit="sci",
        width=12,
    ),
    Chart(
        "Lent and borrowed GPUs",
        "All queues together, by flavor; an inner queue counts beside those below it.",
        tuple(
            Query(f"sum by (flavor) ({series(names.QUOTAS['gpu', role])})", f"{{{{flavor}}}} {role}")
            for role in ("lent", "borrowed")
        ),
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
        unit=_GRAFANA_UNITS[resource],
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
