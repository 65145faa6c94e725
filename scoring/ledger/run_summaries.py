"""Runs in short, from an index beside their records.

<output.uri>.nightscore/index/runs.json.gz
"""

from nightscore.ledger.layout import RUNS_INDEX
from nightscore.ledger.listing_index import Listing, recall
from nightscore.ledger.manifest_files import read_listed
from nightscore.ledger.run_record import waited_for_turn_s
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.run_summary import RunSummary, digest_inputs, digest_paths
from nightscore.storage.protocol import Entry

UNDER_WAY = ("running", "prepared")
"""What a run that has not ended, or has died, has recorded."""


def recall_summaries(workspace: Workspace, listing: Listing) -> dict[str, RunSummary]:
    """The listed records in short, by path. Those that cannot be read are left out."""
    state = workspace.state

    def read(entry: Entry) -> RunSummary | None:
        manifest = read_listed(state, entry, workspace.run_cache)
        return None if manifest is None else summarize(manifest)

    return recall(state, RUNS_INDEX, listing, read, RunSummary)


def summarize(manifest: Manifest) -> RunSummary:
    """A run in short."""
    measures = manifest.measures
    return RunSummary(
        run_id=manifest.run_id,
        status=manifest.status,
        job=manifest.job,
        partition_key=manifest.partition_key,
        partition=manifest.partition,
        fingerprint=manifest.fingerprint,
        canary=manifest.canary,
        restores=manifest.restores,
        replays=manifest.replays,
        replaces=manifest.replaces,
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        model_name=manifest.model.name,
        model_version=manifest.model.version,
        model_digest=manifest.model.digest,
        inputs=digest_inputs(manifest.inputs.files),
        outputs=digest_paths(file.path for file in manifest.output.files),
        rows_in=manifest.counts.rows_in,
        rows_scored=manifest.counts.rows_scored,
        startup_s=measures.startup_s,
        total_s=measures.total_s,
        waited_s=waited_for_turn_s(manifest),
        error=manifest.error,
    )
