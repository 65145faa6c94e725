"""The flow that compares published predictions with the labels that have become known."""

import asyncio
import functools
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed

from nightscore.errors import LabelError
from nightscore.flows.failures import tell_of_failure
from nightscore.flows.outcome import fail_with_reason
from nightscore.flows.parameters import (
    DEFAULT_TIMEOUT_MINUTES,
    JobName,
    Minutes,
    job_name,
    link_to_performance,
    read_job,
)
from nightscore.flows.pools import within_time
from nightscore.flows.tracking import track_evaluations
from nightscore.flows.ui.artifacts import artifact_key
from nightscore.flows.ui.evaluation_page import (
    DRAWN_PARTITIONS,
    MAX_PARTITIONS,
    evaluation_message,
    evaluation_rows,
    performance_markdown,
)
from nightscore.flows.ui.failure_text import what_failed
from nightscore.flows.ui.log import forward_engine_log
from nightscore.flows.ui.performance_event import emit_performance_event
from nightscore.inputs.values import backwards
from nightscore.ledger.evaluation_files import latest_evaluations
from nightscore.ledger.workspace import Workspace
from nightscore.operations.evaluate import Evaluation
from nightscore.operations.evaluate import evaluate as evaluate_partitions
from nightscore.operations.performance import latest_performance
from nightscore.operations.standing import standings
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob


def _run_name() -> str:
    return f"{job_name(flow_run.parameters['job'])} · evaluate"


@flow(
    name="evaluate",
    flow_run_name=_run_name,
    persist_result=False,
    on_failure=[tell_of_failure],
)
@fail_with_reason
async def evaluate(
    job: JobName,
    start: date | None = None,
    end: date | None = None,
    run_id: str | None = None,
    timeout_minutes: Minutes = DEFAULT_TIMEOUT_MINUTES,
) -> State[Any]:
    """Compare published predictions with the labels that have become known, where either is new.

    Args:
        job: One of the jobs that have `labels`. From Python also the path or URL of a job file.
        start: First date. Empty: all dates up to the last one.
        end: Last date, included. Empty: all dates from the first one on.
        run_id: Evaluate the results of this run alone, also if they were replaced or rolled back
            since. Then leave the dates empty. Empty: what is published now.
        timeout_minutes: Stop after this time. What is evaluated by then stays.
    """
    forward_engine_log()
    spec = read_job(job)
    first, last = _range(spec, start, end)

    work = functools.partial(
        evaluate_partitions, spec, datetime.now(UTC), first, last, run_id=run_id or None
    )
    done = await _evaluate(spec, work, timeout_minutes)

    judged = await asyncio.to_thread(emit_performance_event, spec, done.records)
    latest = await asyncio.to_thread(latest_evaluations, Workspace(spec), MAX_PARTITIONS)
    decisions = await asyncio.to_thread(standings, spec) if done.challengers else []
    message = evaluation_message(done, judged, decisions)

    await _show(spec, latest, message)
    await _show_plot(spec, message, link_to_performance(job), decisions)
    await asyncio.to_thread(track_evaluations, done.records, latest, spec.registry)

    done.check()
    return Completed(message=message)


def _range(spec: ScoringJob, start: date | None, end: date | None) -> tuple[str | None, str | None]:
    """The first and last partition value; None: no bound."""
    if start is not None and end is not None and end < start:
        raise backwards(start, end, f"evaluate {end} to {start}")

    pattern = spec.input.partition_format
    first = None if start is None else start.strftime(pattern)
    last = None if end is None else end.strftime(pattern)
    return first, last


async def _evaluate(
    spec: ScoringJob, work: "functools.partial[Evaluation]", timeout_minutes: int
) -> Evaluation:
    try:
        return await within_time(timeout_minutes * 60, work)
    except TimeoutError:
        raise LabelError(
            f"The evaluation was stopped after {timeout_minutes:,} minutes, its time limit. What "
            "was evaluated by then stays.",
            spec.labels.uri if spec.labels else spec.given_as,
            next_step="check the stores of the labels and the predictions, or raise "
            f"timeout_minutes; then run `{spec.command('evaluate')}`",
        ) from None


async def _show(spec: ScoringJob, latest: list[EvaluationRecord], message: str) -> None:
    """The table of realised metrics. Before the first evaluation there is nothing to show."""
    if latest:
        await acreate_table_artifact(
            key=artifact_key(spec.name, "evaluate"),
            table=evaluation_rows(latest),
            description=message,
        )


async def _show_plot(
    spec: ScoringJob, message: str, page_url: str, decisions: Sequence[ComparisonRecord]
) -> None:
    """What was estimated against what came true, drawn and as a table.

    The records are written. If drawing fails, that is a warning in the log.
    """

    def draw() -> str:
        partitions = latest_performance(spec, DRAWN_PARTITIONS)
        return performance_markdown(spec.name, partitions, page_url, decisions)

    try:
        page = await asyncio.to_thread(draw)
    except Exception as error:  # noqa: BLE001 (whatever it is, the records are written)
        get_run_logger().warning("the performance could not be drawn: %s", what_failed(error))
        return

    await acreate_markdown_artifact(
        key=artifact_key(spec.name, "performance"), markdown=page, description=message
    )
