"""`nightscore promote`, `nightscore demote` and `nightscore releases`."""

import importlib.util
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from nightscore.cli.records import exit_code
from nightscore.cli.release_documents import (
    appraisal_document,
    proposal_document,
    release_document,
    result_document,
)
from nightscore.cli.release_text import (
    CANARY_COLUMNS,
    appraisal_lines,
    canary_row,
    print_result,
    show_doubt,
    show_move,
    show_standing_beside,
    show_state,
)
from nightscore.cli.resolve import load, log_to, model_cache
from nightscore.cli.show import counted, err, out, print_json, print_table
from nightscore.cli.summary import print_failures
from nightscore.engine.worker_backend_catalog import open_pool
from nightscore.errors import ReleaseError, ScoringError
from nightscore.ledger.canary_log import canary_at
from nightscore.ledger.release_log import Release
from nightscore.models.cache import ModelCache
from nightscore.operations.releases.appraisal import Appraisal, preview
from nightscore.operations.releases.completion import abandon as give_up
from nightscore.operations.releases.demote import demote as take_back
from nightscore.operations.releases.promote import Proposal
from nightscore.operations.releases.promote import promote as make_live
from nightscore.operations.releases.proposals import describe_proposal
from nightscore.operations.releases.put_back import describe_left, plan_put_back, put_back
from nightscore.operations.releases.queries import ReleaseList, describe, live_at, read_releases
from nightscore.operations.releases.target import ReleaseTarget, find_target
from nightscore.operations.rollback import RollbackItem
from nightscore.operations.standing import standings
from nightscore.process import user_and_host
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.release_entry import ReleaseEntry

COLUMNS = ("entry", "when (UTC)", "what", "version", "by", "state", "note")


def promote(
    job: str,
    to: str | None,
    note: str,
    without_labels: bool,
    dry_run: bool,
    abandon: bool,
    as_json: bool,
    cache_dir: Path | None,
    verbose: bool,
) -> None:
    """Make a version live, and print the entry of the log."""
    spec, cache = _opened(job, cache_dir, verbose=verbose)
    if abandon:
        _abandon(spec, note, as_json=as_json)
        return

    proposal = Proposal(version=to, note=note, without_labels=without_labels)
    with open_pool(spec.workers) as pool:
        if dry_run:
            appraisal = preview(spec, to, without_labels=without_labels, pool=pool, cache=cache)
            _print_appraisal(appraisal, as_json=as_json)
            return

        result = make_live(spec, proposal, pool=pool, cache=cache)

    if as_json:
        print_json(result_document(result))
    else:
        print_result(spec, result)

    if result.proposal is not None:
        _alert(spec, result.proposal)


def demote(
    job: str,
    to: str | None,
    note: str,
    with_predictions: bool,
    abandon: bool,
    as_json: bool,
    cache_dir: Path | None,
    verbose: bool,
) -> None:
    """Take the live version back, and what it has published if that is wanted."""
    spec, cache = _opened(job, cache_dir, verbose=verbose)
    if abandon:
        _abandon(spec, note, as_json=as_json)
        return

    result = take_back(spec, Proposal(version=to, note=note), cache)
    if not as_json:
        print_result(spec, result)
        if result.was_live and to is None:
            out.print(f"`{spec.command('demote', '--to', 'VERSION')}` leads further back.")

    items: list[RollbackItem] = []
    manifests: list[Manifest] = []

    if with_predictions:
        target = find_target(spec, "demote")
        items = plan_put_back(target)
        manifests = _put_back(target, items, cache, as_json=as_json)

    if as_json:
        runs = [json.loads(manifest.model_dump_json()) for manifest in manifests]
        document = {
            "predictions": [_item_document(item) for item in items],
            "runs": runs,
            "next_step": describe_left(spec, items),
        }
        print_json(result_document(result) | document)

    codes = [exit_code(manifest) for manifest in manifests if manifest.error]
    is_refused = any(item.action == "refuse" for item in items)

    raise typer.Exit(max([*codes, int(is_refused)]))


def releases(job: str, at: datetime | None, as_json: bool) -> None:
    """Print the log, or which version was live at a time."""
    spec = load(job)
    if at is not None:
        _print_live(spec, at, as_json=as_json)
        return

    found = _read(spec)
    if as_json:
        documents = [release_document(release) for release in found.releases]
        if found.proposal is not None:
            documents.append(proposal_document(found.proposal))
        documents += [json.loads(entry.model_dump_json()) for entry in found.canaries]
        print_json(documents)
        return

    _print_log(found)
    for standing in standings(spec):
        out.print(show_standing_beside(found, standing))


def _read(spec: ScoringJob) -> ReleaseList:
    """The log; says on standard error why it may not be the whole one."""
    found = read_releases(spec)
    for doubt in found.doubts:
        err.print(doubt)
    return found


def _alert(spec: ScoringJob, proposal: ReleaseEntry) -> None:
    """Alert those who may decide, where Prefect is. If that fails, the proposal stands."""
    if importlib.util.find_spec("prefect") is None:
        return

    from nightscore.flows.proposal_event import emit_proposal_event

    try:
        emit_proposal_event(spec, proposal)
    except ScoringError as error:
        err.print(f"Nobody was alerted that it waits. {error}")


def _print_log(found: ReleaseList) -> None:
    title = f"Releases of {found.target.alias}"
    if found.proposal is not None:
        out.print(describe_proposal(found.target.job, found.proposal, datetime.now(UTC)))

    if not found.releases:
        out.print(f"{title}: none is logged in {found.target.log.place}")
        return

    print_table(title, COLUMNS, [_row(release) for release in reversed(found.releases)])
    if found.releases[-1].is_pending:
        command = found.target.command(found.releases[-1])
        out.print(f"The newest entry is not completed: `{command}` goes on with it.")

    if found.canaries:
        rows = map(canary_row, reversed(found.canaries))
        print_table("Canaries of this job", CANARY_COLUMNS, list(rows))


def _opened(job: str, cache_dir: Path | None, *, verbose: bool) -> tuple[ScoringJob, ModelCache]:
    """The job of a release, and the models of this host; what is done is logged from now on."""
    log_to(verbose)
    return load(job), model_cache(cache_dir)


def _print_live(spec: ScoringJob, moment: datetime, *, as_json: bool) -> None:
    found = _read(spec)
    live, canary = live_at(found, moment), canary_at(found.canaries, moment)

    if as_json:
        print_json(
            {
                "at": moment.isoformat(),
                "version": live.version,
                "possibly": live.possibly or None,
                "entry": live.since.entry.number,
                "noticed": live.noticed.entry.number if live.noticed else None,
                "canary": canary and json.loads(canary.model_dump_json()),
            }
        )
        return

    out.print(f"Version {live.version} was live at {moment:%Y-%m-%d %H:%M} UTC.")
    out.print(f"Entry {live.since.entry.number}: {describe(live.since)}.")

    if live.noticed is not None:
        out.print(
            f"Or version {live.possibly} was already: entry {live.noticed.entry.number} "
            f"{show_doubt(live.noticed)}, and nobody knows when."
        )

    if canary is not None:
        out.print(f"A canary was under way: {canary.arm}.")


def _abandon(spec: ScoringJob, note: str, *, as_json: bool) -> None:
    release = give_up(find_target(spec, "promote"), user_and_host(), note or "given up")
    if as_json:
        print_json(release_document(release))
    else:
        out.print(f"Entry {release.entry.number} is given up; the alias was not moved by it.")


def _put_back(
    target: ReleaseTarget, items: Sequence[RollbackItem], cache: ModelCache, *, as_json: bool
) -> list[Manifest]:
    """Put the predictions back; says what becomes of each partition as soon as it is done."""
    manifests = []
    left = [item for item in items if item.action != "roll back"]

    for manifest in put_back(target, items, cache):
        manifests.append(manifest)
        if not as_json:
            outcome = "failed" if manifest.error else f"run {manifest.restores} is seen again"
            out.print(f"{manifest.partition}: {outcome}")

    if not as_json:
        for item in left:
            out.print(f"{item.value}: left as it is, since {item.reason}")
        n_failed = sum(manifest.error is not None for manifest in manifests)
        n_done = counted(len(manifests) - n_failed, "partition")
        out.print(f"{n_done} put back, {n_failed} failed, {len(left)} left.")
        if next_step := describe_left(target.job, items):
            out.print(next_step)
        print_failures([manifest for manifest in manifests if manifest.error])

    return manifests


def _print_appraisal(appraisal: Appraisal | None, *, as_json: bool) -> None:
    """Print what a promotion would go by, then what keeps the version from going live."""
    if as_json:
        print_json(appraisal_document(appraisal))
    elif appraisal is None:
        out.print("Nothing would be changed: that version is live already.")
    else:
        for line in appraisal_lines(appraisal):
            out.print(line)

    if appraisal is None or not appraisal.problems:
        return
    if as_json:  # the document has them already, and there is one document alone
        raise typer.Exit(ReleaseError.exit_code)
    appraisal.check()


def _item_document(item: RollbackItem) -> dict[str, Any]:
    return {"partition": item.value, "action": item.action, "reason": item.reason}


def _row(release: Release) -> dict[str, Any]:
    entry = release.entry
    return {
        "entry": entry.number,
        "when (UTC)": f"{release.effective_at:%Y-%m-%d %H:%M}",
        "what": entry.kind,
        "version": show_move(release),
        "by": entry.by,
        "state": show_state(release),
        "note": entry.note,
    }
