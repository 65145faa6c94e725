"""Publishes a challenger into its own table, once the champion's run has ended."""

from nightscore.runs.accounting import reconcile, summarize
from nightscore.runs.challengers.challenger import Challenger
from nightscore.runs.challengers.differences import store_difference
from nightscore.runs.gating import pass_gates
from nightscore.runs.publishing import finish_parts, publish
from nightscore.runs.run_plan import RunPlan


def publish_challenger(challenger: Challenger, plan: RunPlan, score_s: float) -> None:
    """Check what the workers did for it, compare that with earlier partitions, and publish it.

    Args:
        challenger: That has scored all rows.
        plan: Of the champion's run.
        score_s: Seconds that the workers took for both.

    Raises:
        ScoringError: It cannot be published.
    """
    execution, plan = challenger.execution, challenger.plan(plan)
    stages_s = execution.record.manifest.measures.stages_s
    execution.record.measure(stages_s=stages_s | {"score": score_s})

    summarize(execution, plan)
    reconcile(execution, plan)

    with execution.record.stage("publish"):
        parts = finish_parts(execution, plan)

    with execution.record.stage("compare"):
        plan.drift_check.assess()
        store_difference(challenger)

    with execution.record.stage("publish"):
        pass_gates(execution, plan, parts)
        if parts:
            publish(execution, plan, parts)

    execution.record.end_published(execution.worker_cpu_s)
    plan.drift_check.share()
