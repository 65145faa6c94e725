"""One run: a job on one partition, from the model's version to the manifest."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from nightscore.drift.recompare import compare_later
from nightscore.drift.references import find_references
from nightscore.engine.checkpoints import take_over
from nightscore.engine.events import Listener
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.pool import Pool
from nightscore.errors import ModelDigestError
from nightscore.inputs.partitions import check_unchanged, find_partition
from nightscore.inputs.tables import check_root
from nightscore.inputs.values import check_value
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.record import WAIT_FOR_TURN
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.outputs.guarantees import unnoticed_changes
from nightscore.outputs.publish import open_publisher
from nightscore.planning.environment import cache_warnings, library_versions, version_warnings
from nightscore.planning.plan import PlannedWorkers, plan_partition
from nightscore.runs.attempt import Attempt, inputs_record
from nightscore.runs.held import is_blocking
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.storage.run_cache import RunCache


def run(
    job: ScoringJob,
    value: str | None,
    *,
    pool: Pool,
    cache: ModelCache,
    now: datetime,
    force: bool = False,
    model: PinnedModel | None = None,
    listeners: Sequence[Listener] = (),
    run_cache: RunCache | None = None,
    turn: Callable[[], object] | None = None,
    compares_later: bool = True,
) -> Manifest:
    """Score one partition and publish it, unless the same is published already.

    Args:
        job: What to score.
        value: Partition value; None for Hive's default partition.
        pool: Workers, warm or not.
        cache: Models of this host.
        now: The start, in UTC.
        force: Score again what is published already.
        model: Already resolved, for several partitions with one model; None: resolve the job's own.
        listeners: Told what happens, besides the log.
        run_cache: Shared by several runs of this process. None: this run has its own.
        turn: Returns when those that are published before this one have ended; None: there are none.
        compares_later: Compare later partitions again, whose neighbour this one is. False: the caller does, once for
            several partitions.

    Returns:
        The manifest: `published`, `unchanged` (that of the run that stands), `held` by a gate,
        `rejected` after that, or `failed` with the error.

    Raises:
        InvalidJobError: No partition can have this value; nothing was recorded.
        RunInterrupted: Ctrl-C or SIGTERM; recorded as failed, nothing was published.
    """
    check_value(job, value)
    workspace = Workspace(job, run_cache)
    attempt = Attempt(workspace, value, pool, cache, now, listeners)
    manifest = attempt.carry_out(lambda: _score(attempt, model, turn, force=force))
    if (
        compares_later
        and manifest.status in ("published", "held")
        and manifest.run_id == attempt.record.run_id
    ):
        compare_later(workspace, [value], cache, datetime.now(UTC), are_fresh=True)
    return manifest


def _score(
    attempt: Attempt, model: PinnedModel | None, turn: Callable[[], object] | None, *, force: bool
) -> Manifest:
    """The sentence that the whole package is about."""
    record, job, workspace = attempt.record, attempt.job, attempt.workspace
    with record.stage("model"):
        model = model or PinnedModel.resolve(job, attempt.cache)
        record.update(model=model.record(job), policy=job.policy, forced=force)
    with record.stage("plan"):
        check_root(workspace)
        publisher = open_publisher(workspace)
        promises = attempt.tell_promises()
        partition, left_out = find_partition(workspace, attempt.value)
        promises += unnoticed_changes(job, [file.version for file in partition.files])
        live = publisher.live(attempt.value)
        fingerprint = model.fingerprint(job, partition)
        history = PartitionHistory(workspace, attempt.value)
        standing = history.complete(live)
        if not force and standing is not None and standing.fingerprint == fingerprint:
            return standing.model_copy(update={"status": "unchanged"})
        undecided = None if force else history.undecided(fingerprint)
        if undecided is not None and is_blocking(workspace, undecided):
            return undecided
        record.update(
            fingerprint=fingerprint,
            libraries=library_versions(),
            inputs=inputs_record(job, partition, len(left_out)),
            replaces=live.run_id if live else None,
        )
        if dead := take_over(
            workspace, history, fingerprint, live.run_id if live else None, attempt.lease
        ):
            record.resume_from(dead.manifest)
        record.save("running")
        attempt.lease.check()  # nobody has removed meanwhile what this goes on with; from now on the record says so
        attempt.lease.release()
        publisher.check()
        facts = learn_facts(model, attempt.cache, attempt.pool)
        notes = (
            *model.warnings,
            *version_warnings(facts),
            *cache_warnings(model, facts),
            *promises,
        )
        record.update(model=model.record(job, facts), warnings=notes)
        cut_for = dead.cut_for if dead else None
        workers = PlannedWorkers(attempt.pool.capacity, attempt.pool, cut_for)
        plan, contract = plan_partition(job, model, facts, partition, workers)
        attempt.resumed = dead.fitting(plan.shards) if dead else []
        record.warn(*publisher.check_fits(contract.output_schema(), attempt.value))
        record.update(inputs=inputs_record(job, partition, len(left_out), plan.extra_columns))
        if job.drift.profile:
            _find_references(attempt, model)
    with record.stage("score"):
        attempt.score_shards(plan, contract, model, facts)
    attempt.summarize(plan)
    attempt.reconcile(plan)
    if turn is not None:
        with record.stage(WAIT_FOR_TURN):
            turn()
    with record.stage("publish"):
        check_unchanged(job, partition)
        parts = attempt.finish_parts(publisher, plan, contract, live)
        attempt.assess_drift()
        if attempt.check_gates(parts):
            return attempt.hold()
        if parts:
            attempt.publish(publisher, fingerprint, contract, live, parts)
    manifest = record.end_published(attempt.worker_cpu_s)
    attempt.forget_checkpoints()
    return manifest


def _find_references(attempt: Attempt, model: PinnedModel) -> None:
    try:
        attempt.references = find_references(attempt.workspace, attempt.value, model, attempt.cache)
    except ModelDigestError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever is stored there: it costs the comparison)
        attempt.give_up_drift(error)
