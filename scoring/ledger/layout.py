"""Where a job's outputs stand.

    <output.uri>/ds=2026-11-24/
        <run_id>-00000-0.parquet        parts of a Delta table
        predictions.parquet             or one sealed object
    <output.uri>.nightscore/
        runs/ds=2026-11-24/<run_id>.json            manifests
        quarantine/ds=2026-11-24/<run_id>-*.parquet
        samples/ds=2026-11-24/<run_id>-*.parquet    rows with features, if the job wants them
        samples/baselines/<sha256>.parquet          labelled rows of a baseline, likewise
        staging/<run_id>/                           parts before they are sealed
        sealed/ds=2026-11-24/<run_id>.parquet       each sealed object, for a rollback
        checkpoints/<run_id>/                       finished shards of an unpublished run
        profiles/ds=2026-11-24/<run_id>.parquet     what the columns looked like
        drift/ds=2026-11-24/<run_id>.parquet        how they differ from before, by statistic
        reports/ds=2026-11-24/<run_id>.html         the same for people, if somebody asked
        comparisons/ds=2026-11-24/<run_id>.json     the newest comparison, if it is a later one
        comparisons/ds=2026-11-24/<run_id>.parquet  its statistics
        differences/ds=2026-11-24/<run_id>.json.gz  counts of a challenger's differences
        differences/ds=2026-11-24/<run_id>.parquet  the same as figures, for people
        evaluations/ds=2026-11-24/<run_id>-<n>-<digest>.json     predictions against labels
        evaluations/ds=2026-11-24/<run_id>-<n>-<digest>.parquet  scores and labels, without keys
        performance/ds=2026-11-24/<run_id>-<n>-<digest>.parquet  the metrics, for people
        evaluations/ds=2026-11-24/replaced/...      the same of runs that were replaced by then
        decisions/<run_id>                          the verdict on a run that was held
        leases/ds=2026-11-24                        who changes the partition now
        releases/<model>@<alias>/                   which model version was live when: `release_log`
        index/runs.json.gz                          what lists of runs need of all manifests
        index/labels.json.gz                        digests of each partition's labels
        index/sealed.json.gz                        the run of each sealed object that readers see

What is in `index/` is made anew if it is lost: see `listing_index`.

The second folder stands beside the table, since readers' `**` globs enter folders of any name.
"""

import re

from nightscore.ledger.output_formats import format_of
from nightscore.schemas.job import ScoringJob
from nightscore.storage.store import Store

RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


RUNS_INDEX = "index/runs.json.gz"
LABELS_INDEX = "index/labels.json.gz"
SEALED_INDEX = "index/sealed.json.gz"


def predictions_store(job: ScoringJob) -> Store:
    """The Delta table, or the root of the sealed partitions."""
    return Store(job.output.uri, job.output.storage_options)


def state_store(job: ScoringJob) -> Store:
    """Everything that is not predictions."""
    return predictions_store(job).sibling(".nightscore")


def parts_store(job: ScoringJob) -> Store:
    """Where a run's files stand until they are published.

    It is where they will stay, or where no reader looks.
    """
    return predictions_store(job) if format_of(job).writes_in_place else state_store(job)


def parts_folder(job: ScoringJob, folder: str, run_id: str) -> str:
    """Where a run's parts of a partition are written, below `parts_store`."""
    return folder if format_of(job).writes_in_place else staging_folder(run_id)


def manifest_path(folder: str, run_id: str) -> str:
    """The record of a run."""
    return f"runs/{folder}/{run_id}.json"


def part_path(folder: str, run_id: str, shard: int, attempt: int) -> str:
    """A part's path. A second attempt at a shard never writes over the first."""
    return f"{folder}/{run_id}-{shard:05d}-{attempt}.parquet"


def staging_folder(run_id: str) -> str:
    """Where a run keeps what no reader may see yet."""
    return f"staging/{run_id}"


def checkpoints_folder(run_id: str) -> str:
    """Where a run records the shards that it has finished."""
    return f"checkpoints/{run_id}"


def claim_path(run_id: str, attempt: int) -> str:
    """Who creates this file makes the run's n-th attempt."""
    return f"{checkpoints_folder(run_id)}/claim-{attempt}"


def decision_path(run_id: str) -> str:
    """Who creates this file decides on a run that is held."""
    return f"decisions/{run_id}"


def lease_path(folder: str) -> str:
    """Who creates this file may change the partition, until it is removed."""
    return f"leases/{folder}"


def profile_path(folder: str, run_id: str) -> str:
    """What a run's columns looked like."""
    return f"profiles/{folder}/{run_id}.parquet"


def drift_path(folder: str, run_id: str) -> str:
    """How a run's columns differ from earlier partitions."""
    return f"drift/{folder}/{run_id}.parquet"


def difference_path(folder: str, run_id: str) -> str:
    """How a challenger's predictions differ from its champion's: counts that can be added up."""
    return f"differences/{folder}/{run_id}.json.gz"


def difference_table_path(folder: str, run_id: str) -> str:
    """The same summed up, as a table."""
    return f"differences/{folder}/{run_id}.parquet"


def comparison_path(folder: str, run_id: str) -> str:
    """A run's columns compared again, since other partitions were published after it."""
    return f"comparisons/{folder}/{run_id}.json"


def comparison_table_path(folder: str, run_id: str) -> str:
    """The statistics of a later comparison."""
    return f"comparisons/{folder}/{run_id}.parquet"


def evaluation_path(
    folder: str, run_id: str, number: int, work: str, *, is_replaced: bool = False
) -> str:
    """The comparison of a run's predictions with their labels.

    Args:
        folder: Of the partition.
        run_id: Whose predictions.
        number: Counts the evaluations of the partition, from 1.
        work: Digest of what was compared: who evaluates the same has the same path.
        is_replaced: Readers saw another run's results when this one was evaluated.
    """
    below = "replaced/" if is_replaced else ""
    return f"evaluations/{folder}/{below}{run_id}-{number:06d}-{work}.json"


def metrics_table_path(evaluation: str) -> str:
    """The metrics of an evaluation as a table.

    Args:
        evaluation: Path of its record.
    """
    name = evaluation.removeprefix("evaluations/").removesuffix(".json")
    return f"performance/{name}.parquet"


def report_path(
    folder: str, run_id: str, status: str, compared: str = "", evaluated: str = ""
) -> str:
    """The page about a run. A run that is held, or was rejected, has a page that says so.

    Args:
        folder: Of the partition.
        run_id: Of the run.
        status: Of the run.
        compared: Tells its later comparisons apart. Empty: the run's own comparison.
        evaluated: Tells apart what has come true. Empty: nothing was known.
    """
    suffix = "" if status in ("published", "unchanged") else f"-{status}"
    for part in (compared, evaluated):
        suffix += f"-{part}" if part else ""

    return f"reports/{folder}/{run_id}{suffix}.html"


def sealed_path(folder: str) -> str:
    """The one object of a partition."""
    return f"{folder}/predictions.parquet"


def sealed_history_path(folder: str, run_id: str) -> str:
    """Where a run's sealed object stays. The live one is a copy, on a disk a hard link."""
    return f"sealed/{folder}/{run_id}.parquet"


def run_id_of(path: str) -> str | None:
    """The run that wrote a file, from its path."""
    match = RUN_ID.search(path)
    return match[0] if match else None
