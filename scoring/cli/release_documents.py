"""Releases as JSON, as commands print them."""

import json
from typing import Any

from nightscore.cli.release_text import show_state
from nightscore.ledger.release_log import Release
from nightscore.operations.releases.appraisal import Appraisal
from nightscore.operations.releases.promote import ReleaseResult
from nightscore.schemas.release_entry import ReleaseEntry


def result_document(result: ReleaseResult) -> dict[str, Any]:
    """What a command has done."""
    return {
        "release": None if result.release is None else release_document(result.release),
        "is_new": result.is_new,
        "was_live": result.was_live,
        "proposal": None if result.proposal is None else proposal_document(result.proposal),
        "overtaken": None if result.overtaken is None else proposal_document(result.overtaken),
        "jobs": list(result.affected.names),
        "unreadable_jobs": list(result.affected.unreadable),
    }


def appraisal_document(appraisal: Appraisal | None) -> dict[str, Any]:
    """What a promotion would go by. None: the version is live already."""
    if appraisal is None:
        return {"was_live": True}

    diff = appraisal.diff
    return {
        "was_live": False,
        "before": None if appraisal.live is None else appraisal.live.version,
        "after": appraisal.candidate.version,
        "problems": list(appraisal.problems),
        "evidence": json.loads(appraisal.evidence.model_dump_json()),
        "diff": None if diff is None else json.loads(diff.model_dump_json()),
    }


def release_document(release: Release) -> dict[str, Any]:
    """An entry of the log, with what became of it."""
    entry = json.loads(release.entry.model_dump_json())
    outcome = release.outcome
    return {
        **entry,
        "state": show_state(release),
        "outcome": None if outcome is None else json.loads(outcome.model_dump_json()),
    }


def proposal_document(proposal: ReleaseEntry) -> dict[str, Any]:
    """A proposal that waits for a decision: the entry that it is going to be."""
    return {**json.loads(proposal.model_dump_json()), "state": "proposed", "outcome": None}
