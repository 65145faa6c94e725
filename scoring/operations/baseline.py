"""Profiles training or hold-out data through the model, as the reference for later partitions."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.parsing.files import read_tables
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.engine.pool import Pool
from nightscore.engine.scratch import ScratchRun, scratch_job
from nightscore.engine.shard import ShardResult
from nightscore.errors import InputError, InvalidJobError
from nightscore.inputs.dataset import READ_ROWS, Dataset
from nightscore.ledger.layout import state_store
from nightscore.models.baseline import log_baseline
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.models.registries.protocol import ModelVersion
from nightscore.models.registries.uris import redacted
from nightscore.monitoring.drift.profiling import profile_of, with_types
from nightscore.monitoring.performance.estimates.reweighted import BASELINE_FACTOR
from nightscore.operations.baseline_labels import label_classes
from nightscore.outputs.samples import baseline_sample_path, read_samples, write_sample
from nightscore.profiles.class_counter import ClassColumns
from nightscore.profiles.profile import kind_of
from nightscore.profiles.profile_spec import (
    BINARY_SCORE,
    ProfiledColumn,
    ProfileSpec,
    cut_column,
    cut_segments,
    score_column,
)
from nightscore.profiles.table import Role, merge_profiles, to_bytes
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import Keys, Limits, ScoringJob
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.model_uri import MODEL_URI, exact_uri, register_command
from nightscore.schemas.partition import Partition
from nightscore.storage.store import Store

BASELINE_RUN = "baseline"
PASS_MINUTES = 24 * 60
"""Limit of each of the two passes over the data."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was logged."""

    version: ModelVersion
    sha256: str
    n_columns: int


def with_version(job: ScoringJob, version: str) -> ScoringJob:
    """The job with one version of its model, such as one that is not live yet.

    Raises:
        InvalidJobError: The job's model is a logged model, or this is no number of a version.
    """
    match = MODEL_URI.fullmatch(job.model)
    if match is not None and match["name"] and version.isdigit():
        return job.model_copy(update={"model": exact_uri(match["name"], version)})

    raise InvalidJobError(
        f"The job's model has no version {version}; nothing was profiled.",
        job.name,
        expected="a number, of a registered model",
        found=job.model,
        next_step="leave --model-version out, or give the number that the registry shows",
    )


def record_baseline(
    job: ScoringJob,
    uri: str,
    pool: Pool,
    cache: ModelCache,
    tell: Callable[[str], None] = lambda _: None,
    *,
    label: str = "",
) -> Baseline:
    """Profile a dataset under the job's model, and log the profile with that model version.

    The profile has the features, the predictions, and the mean score by bin of a feature. The data
    are scored twice, since bins of the predictions are cut at all of them. Rows that the model
    rejects are part of the features' profile, as in a run.

    Args:
        job: Names the model, its columns and policy.
        uri: A Parquet file or a folder of them; the job's own storage options open it.
        pool: Workers.
        cache: Models of this host.
        tell: Called with a line for each step.
        label: Column with the true outcome: a number, a boolean or the name of a class. Its mean is
            stored by bin of the score, so that later scores give an expected rate; of a regression,
            sums of its errors, too; of several classes, rows by label and predicted class. Empty:
            none. With a label and `estimate.sample_rows`, a sample of the rows is stored in the
            job's state folder.

    Raises:
        InvalidJobError: The job's model is a logged model, which has no baseline.
        InputError: The data have no rows, or the label cannot be compared with the predictions.
        ContractError: The data lack columns.
    """
    model = PinnedModel.resolve(job, cache)
    _check_registered(job, model.version)
    facts = learn_facts(model, cache, pool)

    data = Dataset(uri, job.input.storage_options)
    if not any(footer.n_rows for footer in data.footers):
        raise InputError(
            "The data for the baseline have no rows.",
            uri,
            expected="training or hold-out rows",
            next_step="name data with rows: --from a folder of Parquet files",
        )

    if label and label not in data.schema:
        raise InputError(
            "The data for the baseline have no such label.",
            uri,
            expected=f"the column {label}",
            found=", ".join(data.schema),
            next_step="name the column with the true outcome: --label COLUMN",
        )

    with tempfile.TemporaryDirectory(prefix="nightscore-baseline-") as scratch:
        scoring = _Scoring(_baseline_job(job, data, scratch, label), data, model, facts, pool)
        classes = label_classes(job, data, scoring.contract, facts, label) if label else ()

        tell(f"scoring {scoring.plan.n_rows:,} rows to cut the predictions' bins")
        first = scoring.run()
        spec = _profile_spec(scoring.job, data, scoring.contract, first)
        spec = replace(spec, label=label, label_classes=classes)

        tell(f"profiling {len(spec.columns)} columns")
        n_sampled = BASELINE_FACTOR * job.estimate.sample_rows if label else 0
        second = scoring.run(spec, n_sampled)
        sample = scoring.sample(second, n_sampled)

    profiles, _ = merge_profiles(profile_of(result) for result in second)
    columns = list(profiles.values())
    digest = log_baseline(model.version, job.registry, to_bytes(columns))
    _keep_sample(job, digest, sample)

    return Baseline(model.version, digest, sum(not column.segment for column in columns))


def _check_registered(job: ScoringJob, version: ModelVersion) -> None:
    if not version.is_logged_model:
        return

    registry = job.registry and redacted(job.registry)
    command = register_command(version.name, version.version, registry)
    raise InvalidJobError(
        "Only a version of a registered model has a baseline; nothing was profiled.",
        job.name,
        expected="models:/<name>/<version> or models:/<name>@<alias> as the job's model",
        found=f"{version.uri}, a logged model",
        next_step=f"register it with `{command}`, then name that version in the job file",
    )


def _baseline_job(job: ScoringJob, data: Dataset, scratch: str, label: str) -> ScoringJob:
    """The job over the data of the baseline, writing to a scratch folder."""
    schema = data.schema
    keys = tuple(name for name in job.keys.columns if name in schema)
    profiled = _profiled_beside(job)
    pass_through = [name for name in job.pass_through if name in schema or name in profiled]
    if label:
        pass_through.append(label)

    changes = {
        "input": job.input.model_copy(update={"uri": data.store.url}),
        "limits": Limits(max_quarantined_share=1.0),
        "keys": Keys(columns=keys),
        "pass_through": tuple(name for name in dict.fromkeys(pass_through) if name not in keys),
    }

    return scratch_job(job, scratch).model_copy(update=changes)


class _Scoring:
    """Scores the data of a baseline into a scratch folder, with or without a profile."""

    def __init__(
        self, job: ScoringJob, data: Dataset, model: PinnedModel, facts: ModelFacts, pool: Pool
    ) -> None:
        """Plan the data as one partition."""
        self.job = job
        self._pool = pool

        partition = Partition(job.input.partition_key, None, BASELINE_RUN, data.files)
        workers = PlannedWorkers(pool.capacity, pool)
        self.plan, self.contract = plan_partition(job, model, facts, partition, workers)
        scratch_run = ScratchRun(job, BASELINE_RUN, model, facts)
        self._tasks = scratch_run.tasks(self.plan, self.contract, self.plan.shards)

    def run(self, spec: ProfileSpec | None = None, n_sampled: int = 0) -> list[ShardResult]:
        """Score all rows, profile what `spec` names, and sample some rows.

        Returns:
            In the order of the rows.
        """
        tasks = self._tasks
        if spec is not None:
            estimate = self.job.estimate.model_copy(update={"sample_rows": n_sampled})
            job = self.job.model_copy(update={"estimate": estimate})
            tasks = [replace(task, job=job, profile_spec=spec, attempt=1) for task in tasks]

        n_workers = self.plan.memory.n_workers
        results = self._pool.score(tasks, n_workers, 60.0 * PASS_MINUTES, lambda _: None)
        return sorted(results, key=lambda result: result.index)

    def sample(self, results: Sequence[ShardResult], n_sampled: int) -> pa.Table | None:
        """The rows that a run has sampled; None: it has sampled none."""
        paths = [file.path for result in results for file in result.sample_files]
        return read_samples(state_store(self.job), paths, n_sampled)


def _keep_sample(job: ScoringJob, digest: str, sample: pa.Table | None) -> None:
    """Store rows of a baseline, for estimates that are adjusted for covariate shift.

    They are not logged with the baseline: whoever reads a registry need not see rows of people.
    """
    if sample is not None:
        write_sample(state_store(job), baseline_sample_path(digest), sample)


def _profiled_beside(job: ScoringJob) -> list[str]:
    """Columns that are profiled although they are no features: keys and passed-through ones."""
    carried = {*job.keys.columns, *job.pass_through}
    return [name for name in (*job.drift.columns, *job.drift.segments) if name in carried]


def _profile_spec(
    job: ScoringJob, data: Dataset, contract: Contract, results: Sequence[ShardResult]
) -> ProfileSpec:
    """What the second pass profiles; bins are cut at the data and the first pass's predictions."""
    profiled_beside = _profiled_beside(job)
    columns: list[ProfiledColumn | None] = []

    for feature in contract.features:
        columns.append(_cut("feature", feature.name, feature.type, data))

    for column in contract.passthrough:
        if column.name in profiled_beside:
            columns.append(_cut("pass_through", column.name, column.type, data))

    for output in contract.predictions:
        if kind_of(output.type) == "number":
            values = _predictions(state_store(job), results, output.name)
            cut = cut_column("prediction", output.name, values)
            columns.append(_cut_at_threshold(cut, job.decision.threshold))
        elif kind_of(output.type) == "category":
            columns.append(ProfiledColumn("prediction", output.name, None))

    score = score_column({column.name: kind_of(column.type) for column in contract.predictions})

    return ProfileSpec(
        with_types([column for column in columns if column is not None], contract),
        tuple(cut_segments(name, data.read(name)) for name in job.drift.segments),
        score,
        classes=ClassColumns.of([column.name for column in contract.predictions]),
    )


def _cut_at_threshold(column: ProfiledColumn, threshold: float) -> ProfiledColumn:
    """A probability's bins, none of which has rows on both sides of the threshold."""
    if column.name != BINARY_SCORE or column.edges is None:
        return column
    return replace(column, edges=column.edges.with_edge(threshold))


def _cut(role: Role, name: str, arrow_type: pa.DataType, data: Dataset) -> ProfiledColumn | None:
    """A column with bins cut at its values; None if columns of its type are not profiled."""
    kind = kind_of(arrow_type)
    if kind == "category":
        return ProfiledColumn(role, name, None)
    if kind is None:
        return None

    batches = data.read(name) if name in data.schema else iter(())
    return cut_column(role, name, (pc.cast(batch, arrow_type, safe=False) for batch in batches))


def _predictions(state: Store, results: Sequence[ShardResult], name: str) -> list[pa.ChunkedArray]:
    columns: list[pa.ChunkedArray] = []
    for result in results:
        for table in read_tables(state, result.part.file.path, [name], READ_ROWS):
            columns.append(table.column(name))

    return columns
