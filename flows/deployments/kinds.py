"""The kinds of deployments that a job can have: what each is for, and where it waits."""

from dataclasses import dataclass
from typing import Any

from prefect import Flow

from nightscore.flows.backfill import backfill
from nightscore.flows.evaluate import evaluate
from nightscore.flows.nightly import nightly
from nightscore.flows.partition import score_partition
from nightscore.flows.releases.decide import decide
from nightscore.flows.releases.demote import demote
from nightscore.flows.releases.new_version import new_version
from nightscore.flows.releases.promote import promote

NIGHTLY_QUEUE, BACKFILL_QUEUE = "nightly", "backfill"
"""The first has priority over the second: a nightly run never waits for a backfill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What the deployments of one kind have in common, whatever the job."""

    flow: Flow[..., Any]
    suffix: str
    """Of the deployment's name, which begins with the job's."""
    description: str
    """With `{job}` where the job's name comes."""
    queue: str
    tags: tuple[str, ...] = ()
    """Beside the job's name and our own tag."""
    is_single: bool = False
    """One run at a time; the next waits for it."""


EVERY_NIGHT = Kind(
    flow=nightly,
    suffix="nightly",
    description="Scores last night's partition of {job}, and late data before it.",
    queue=NIGHTLY_QUEUE,
    tags=("nightly",),
    is_single=True,
)
DATES = Kind(
    flow=backfill,
    suffix="backfill",
    description="Scores a range of dates of {job}. It plans first, then scores each partition in a "
    "child run.",
    queue=BACKFILL_QUEUE,
    tags=("backfill",),
)
ONE_PARTITION = Kind(
    flow=score_partition,
    suffix="partition",
    description="Scores one partition of {job}.",
    queue=BACKFILL_QUEUE,
)
EVALUATION = Kind(
    flow=evaluate,
    suffix="evaluate",
    description="Compares the published predictions of {job} with the labels that have become "
    "known.",
    # It takes seconds, and must not wait for a backfill of days.
    queue=NIGHTLY_QUEUE,
    tags=("evaluate",),
    is_single=True,
)
PROMOTION = Kind(
    flow=promote,
    suffix="promote",
    description="Makes a model version live, and shows what is known of it. With dry_run it only "
    "shows that. Job: {job}.",
    # Somebody waits for it.
    queue=NIGHTLY_QUEUE,
    tags=("release",),
)
DEMOTION = Kind(
    flow=demote,
    suffix="demote",
    description="Takes the live model version back. Job: {job}.",
    # It must not wait for a backfill of days.
    queue=NIGHTLY_QUEUE,
    tags=("release",),
)
DECISION = Kind(
    flow=decide,
    suffix="decide",
    description="Approves or rejects a model version that was proposed. Job: {job}.",
    # Somebody waits for it.
    queue=NIGHTLY_QUEUE,
    tags=("release",),
)
NEW_VERSIONS = Kind(
    flow=new_version,
    suffix="new-version",
    description="Looks at a version that an alias of {job} means from now on, and scores with it.",
    queue=BACKFILL_QUEUE,
    tags=("release",),
    is_single=True,
)
"""An automation runs it when an alias has moved."""
