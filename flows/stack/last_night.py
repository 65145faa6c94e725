"""Last night's run of the demo's job, for a stack that was not up at the time."""

from datetime import datetime, timedelta

from nightscore.flows.demo.sample import JOB_NAME
from nightscore.flows.stack.http_calls import request

NIGHTLY = f"nightly/{JOB_NAME}-nightly"
DAY = timedelta(days=1)


def schedule_last_night(api_url: str, now: datetime) -> None:
    """Have Prefect's scheduler make the newest run that the nightly schedule has missed.

    By itself it makes only those to come. The run is late, so a worker starts it at once. It scores
    the date of its scheduled time. Asking again in the same night makes no second one.
    """
    deployment = request(api_url, "GET", f"/deployments/name/{NIGHTLY}")
    window = {"start_time": (now - DAY).isoformat(), "end_time": now.isoformat(), "max_runs": 1}
    request(api_url, "POST", f"/deployments/{deployment['id']}/schedule", window)
