"""Child runs: each is created once, however often the server is asked, and ends with its parent."""

from typing import Any

from prefect import Flow, Task
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import FlowRunCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, State, StateType, TaskRun
from prefect.context import FlowRunContext, TagsContext
from prefect.flow_engine import run_flow_async
from prefect.states import Cancelled, Crashed, Pending, to_state_create
from prefect.utilities.callables import get_call_parameters

from nightscore.flows.tag import TAG


async def run_child(flow: Flow[..., Any], key: str, *args: Any, **kwargs: Any) -> State[Any]:
    """Run a flow as a child of the flow that calls this; returns its final state.

    Calling the flow itself would do the same, but a server that is busy may carry out a request and
    still not answer it. Prefect then repeats the request, and a second run stays Pending for ever.
    Here the server recognizes the repeated request by its key.

    Args:
        flow: The flow to run.
        key: Tells the children of one parent apart, such as the partition. A parent that runs again
            has new children.
        args: Parameters of the flow by position.
        kwargs: Parameters of the flow by name.
    """
    parent = FlowRunContext.get()
    if parent is None or parent.flow_run is None:
        raise RuntimeError("run_child is called in a flow only")

    parameters = get_call_parameters(flow.fn, args, kwargs)
    attempt_key = f"{key}-{_attempt(parent.flow_run)}"

    async with get_client() as client:
        link = await _link_to_parent(client, flow, parent.flow_run, attempt_key)
        child = await _create_run(client, flow, parameters, link, attempt_key)

    final_state = await run_flow_async(
        flow, flow_run=child, parameters=parameters, return_type="state"
    )
    assert isinstance(final_state, State)  # noqa: S101 (return_type asks for one)
    return final_state


def _attempt(parent: FlowRun) -> str:
    """Names one attempt of a run: each has a state Running of its own.

    The run's own count of attempts is not up to date inside of the run (Prefect 3.8).
    """
    return str(parent.state.id) if parent.state else str(parent.run_count)


async def _link_to_parent(
    client: PrefectClient, flow: Flow[..., Any], parent: FlowRun, key: str
) -> TaskRun:
    """The task run that stands for the child in its parent. Asking again returns the same."""
    task = Task(name=flow.name, fn=flow.fn, version=flow.version)
    return await client.create_task_run(
        task,
        flow_run_id=parent.id,
        dynamic_key=key,
        name=f"{flow.name}-{key}",
        extra_tags=TagsContext.get().current_tags,
    )


async def _create_run(
    client: PrefectClient,
    flow: Flow[..., Any],
    parameters: dict[str, Any],
    link: TaskRun,
    key: str,
) -> FlowRun:
    """The child's run. Asking again returns the same, by its idempotency key."""
    request = FlowRunCreate(
        flow_id=await client.create_flow(flow),
        flow_version=flow.version,
        parameters=flow.serialize_parameters(parameters),
        tags=sorted({TAG, *TagsContext.get().current_tags}),
        parent_task_run_id=link.id,
        state=to_state_create(Pending()),
        idempotency_key=f"{link.flow_run_id}-{key}",
    )
    body = request.model_dump(mode="json", exclude_unset=True)
    response = await client.request("POST", "/flow_runs/", json=body)

    run = FlowRun.model_validate(response.json())
    run.parameters = parameters
    return run


async def end_children(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Set the unfinished children of an ended run to a final state: nobody else would do it.

    Those of a cancelled or crashed run have no process any more. Those of a run that ended by
    itself never started, or their end did not reach the server.
    """
    unfinished = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=sorted(TERMINAL_STATES))),
    )

    async with get_client() as client:
        for child in await client.read_flow_runs(flow_run_filter=unfinished):
            final_state = _final_state(child, flow_run.name, state)
            await client.set_flow_run_state(child.id, final_state, force=True)


def _final_state(child: FlowRun, parent: str, parent_state: State[Any]) -> State[Any]:
    if parent_state.type in (StateType.CANCELLED, StateType.CANCELLING):
        return Cancelled(message=f"{parent} was cancelled")

    if parent_state.is_crashed():
        return Crashed(message=f"{parent} crashed")

    if child.state_type in (StateType.PENDING, StateType.SCHEDULED):
        return Cancelled(message=f"It never started, and {parent} has ended")

    return Crashed(message=f"{parent} has ended, and the server was not told how this run ended")
