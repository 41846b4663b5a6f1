"""What the dashboard shows of queues: what they have, what is guaranteed to them, what limits them."""

from __future__ import annotations

from allocator.metrics import names
from deploy.grafana.queries import GRAFANA_UNITS, Chart, Look, Query, quantile, series

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
        unit=GRAFANA_UNITS[resource],
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
