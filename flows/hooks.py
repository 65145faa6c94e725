"""What happens to the child runs of a run that is cancelled or crashes."""

from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, State, StateType
from prefect.states import Cancelled, Crashed


async def end_children(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Set the unfinished children of an ended run to a final state.

    Their process is gone, so nobody else would do it.
    """
    final_state, message = Crashed, f"{flow_run.name} crashed"

    if state.type in (StateType.CANCELLED, StateType.CANCELLING):
        final_state, message = Cancelled, f"{flow_run.name} was cancelled"

    unfinished = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=sorted(TERMINAL_STATES))),
    )

    async with get_client() as client:
        for child in await client.read_flow_runs(flow_run_filter=unfinished):
            await client.set_flow_run_state(child.id, final_state(message=message), force=True)
