"""The flow that takes the live model version back."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from nightscore.flows.parameters import DEFAULT_TIMEOUT_MINUTES, JobName, Minutes, read_job
from nightscore.flows.releases.common import (
    Note,
    Version,
    release_flow,
    requested_by,
    show_page,
    within_minutes,
)
from nightscore.flows.ui.log import forward_engine_log
from nightscore.flows.ui.release_page import page_of_release
from nightscore.ledger.release_log import Release
from nightscore.models.cache import default_cache
from nightscore.operations.releases.demote import demote as take_back
from nightscore.operations.releases.promote import Proposal, ReleaseResult
from nightscore.operations.releases.proposals import describe_overtaken
from nightscore.operations.releases.put_back import describe_left, plan_put_back, put_back
from nightscore.operations.releases.target import find_target
from nightscore.operations.rollback import RollbackItem
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value
from nightscore.schemas.text import counted


@dataclass(frozen=True, slots=True)
class _Demotion:
    """What a run has done."""

    result: ReleaseResult
    left: Sequence[RollbackItem] = ()
    """Partitions whose predictions stay as they are."""
    manifests: Sequence[Manifest] = ()
    """The record of each partition that was rolled back, or could not be."""

    @property
    def failed(self) -> list[Manifest]:
        """Those that could not be."""
        return [manifest for manifest in self.manifests if manifest.error is not None]

    @property
    def is_whole(self) -> bool:
        """Nothing is left that the demoted version has published."""
        return not self.failed and not any(item.action == "refuse" for item in self.left)


@release_flow("demote", "demote", "to")
async def demote(
    job: JobName,
    to: Version = "",
    note: Note = "",
    with_predictions: bool = False,
    timeout_minutes: Minutes = DEFAULT_TIMEOUT_MINUTES,
) -> State[Any]:
    """Take the live model version back: the alias means the version before again.

    Args:
        job: One of the jobs whose model is an alias. From Python also the path or URL of a job
            file.
        to: Number of the version to go back to. Empty: the one before, by the release log.
        note: Why, for the release log.
        with_predictions: Also restore what readers saw before, where the version has published
            since.
        timeout_minutes: Stop after this time. Run it again: it goes on.
    """
    forward_engine_log()
    spec, by = read_job(job), await requested_by()

    proposal = Proposal(version=to or None, note=note, by=by)
    work = functools.partial(_demote, spec, proposal, with_predictions=with_predictions)
    done = await within_minutes(timeout_minutes, "demotion", spec, work)

    return await _tell(spec, done)


def _demote(spec: ScoringJob, proposal: Proposal, *, with_predictions: bool) -> _Demotion:
    cache = default_cache()

    result = take_back(spec, proposal, cache)
    if not with_predictions:
        return _Demotion(result)

    target = find_target(spec, "demote")
    items = plan_put_back(target)
    left = [item for item in items if item.action != "roll back"]
    return _Demotion(result, left, list(put_back(target, items, cache)))


async def _tell(spec: ScoringJob, done: _Demotion) -> State[Any]:
    release = done.result.release
    if release is None:
        return Completed(message="Nothing was changed: the version is live already.")

    message = f"{_message(spec, release, done)} {describe_left(spec, done.left)}".rstrip()
    rows = [_row(manifest) for manifest in done.manifests]
    rows += [(item.value, f"left as it is, since {item.reason}") for item in done.left]
    await show_page(spec, page_of_release(release), message, rows)

    final_state = Completed if done.is_whole else Failed
    return final_state(message=message)


def _message(spec: ScoringJob, release: Release, done: _Demotion) -> str:
    version = release.entry.after.version
    message = f"Version {version} is live again."
    if done.result.was_live:
        message = f"Version {version} was live already."

    if done.manifests or done.left:
        n_done = counted(len(done.manifests) - len(done.failed), "partition")
        message += f" {n_done} put back, {len(done.failed)} failed, {len(done.left)} left."

    if done.result.overtaken is not None:
        message += f" {describe_overtaken(spec, done.result.overtaken)}"

    return message


def _row(manifest: Manifest) -> tuple[str, str]:
    outcome = f"run {manifest.restores} is seen again"
    if manifest.error is not None:
        outcome = f"failed: {manifest.error.message}"
    return show_value(manifest.partition), outcome
