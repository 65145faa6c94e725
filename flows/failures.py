"""Tells people of a failed run: an event, from which automations make a message."""

import logging
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL

from nightscore.flows.outcome import WHOLE_RUN, outcomes_of
from nightscore.flows.parameters import job_name
from nightscore.flows.ui.failed_run import FailedRun, failed_event

logger = logging.getLogger("nightscore")


async def tell_of_failure(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Emit `nightscore.run.failed`, for automations. Errors are logged, and cost only the event.

    A child run emits none: its parent names all of its partitions that failed. Nor does a run that
    is held, whose own event asks for a decision. A crashed run has no process that could emit one:
    automations react to its state.
    """
    if flow_run.parent_task_run_id is not None or not PREFECT_API_URL.value():
        return

    try:
        failed_run = await _failed_run(flow_run, state)
        if failed_run is None:
            return

        event = failed_event(failed_run)
        run = {
            "prefect.resource.id": f"prefect.flow-run.{flow_run.id}",
            "prefect.resource.role": "flow-run",
            "prefect.resource.name": flow_run.name,
        }
        emit_event(event.name, resource=event.resource, related=[run], payload=event.payload)
    except Exception as error:  # noqa: BLE001 (whatever Prefect does: the run's state says why)
        logger.warning(
            "the failure of %s could not be emitted as an event: %s: %s",
            flow_run.name,
            type(error).__name__,
            error,
        )


async def _failed_run(flow_run: FlowRun, state: State[Any]) -> FailedRun | None:
    """What to tell of a run; None if its partitions are only held."""
    outcomes = await outcomes_of(state, [WHOLE_RUN])
    failures = [outcome for outcome in outcomes if outcome.is_failed]
    if not failures:
        return None

    return FailedRun(
        job=job_name(flow_run.parameters["job"]),
        failures=failures,
        url=f"{PREFECT_UI_URL.value()}/flow-runs/flow-run/{flow_run.id}",
    )
