"""Last night's runs of the demo's job, for a stack that was not up at the time."""

from datetime import datetime, timedelta
from typing import Any

from nightscore.flows.demo.sample import JOB_NAME
from nightscore.flows.stack.http_calls import request

NIGHTLY = f"nightly/{JOB_NAME}-nightly"
EVALUATE = f"evaluate/{JOB_NAME}-evaluate"
DAY = timedelta(days=1)
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def schedule_last_night(api_url: str, now: datetime) -> None:
    """Have Prefect's scheduler make the newest run that the nightly schedule has missed.

    By itself it makes only those to come. The run is late, so a worker starts it at once. It scores
    the date of its scheduled time. Asking again in the same night makes no second one.
    """
    _schedule_missed(api_url, NIGHTLY, now)


def schedule_evaluation(api_url: str, now: datetime) -> bool:
    """Have it make the evaluation that was missed, once last night's run has ended.

    Returns:
        Whether it was made. An evaluation finds nothing before that run.
    """
    deployment = _deployment(api_url, NIGHTLY)
    last_day = {"after_": (now - DAY).isoformat(), "before_": now.isoformat()}
    body = {
        "deployments": {"id": {"any_": [deployment["id"]]}},
        "flow_runs": {"expected_start_time": last_day},
    }
    states = {run["state_type"] for run in request(api_url, "POST", "/flow_runs/filter", body)}

    if not states or not states <= ENDED:
        return False

    _schedule_missed(api_url, EVALUATE, now)
    return True


def _schedule_missed(api_url: str, name: str, now: datetime) -> None:
    window = {"start_time": (now - DAY).isoformat(), "end_time": now.isoformat(), "max_runs": 1}
    path = f"/deployments/{_deployment(api_url, name)['id']}/schedule"
    request(api_url, "POST", path, window)


def _deployment(api_url: str, name: str) -> Any:
    return request(api_url, "GET", f"/deployments/name/{name}")
