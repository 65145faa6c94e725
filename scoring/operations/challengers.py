"""What a job's challengers would do in a run, and what is wrong with them. Nothing is written."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from nightscore.arrow.assignment import Assignment
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning.plan import Beside, agree_on_columns
from nightscore.engine.planning.predictor_choice import choose_predictor
from nightscore.engine.pool import Pool
from nightscore.errors import ChallengerError, ScoringError
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.model_versions import resolve
from nightscore.models.pinned import PinnedModel
from nightscore.operations.missing_parts import pin_command
from nightscore.outputs.publish import open_publisher
from nightscore.runs.challengers.canary import check_alike, check_numbers
from nightscore.runs.challengers.canary_entries import why_stopped_by_log
from nightscore.runs.challengers.columns import beside_champion
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.model_uri import named_model
from nightscore.schemas.partition import Partition, show_value
from nightscore.schemas.text import counted

MAX_NAMED = 3
"""Partitions that a note names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedChallenger:
    """What a run would do with one challenger."""

    label: str
    """What the job calls it."""
    model: str
    """Its model in words; its URI, if there is no such model."""
    problem: str = ""
    """Why it would not score. Empty: it would."""
    is_live: bool = False
    """It is the job's own model, as after it was promoted: a run leaves it out."""
    notes: tuple[str, ...] = ()
    """What is not wrong, but may not be meant."""
    rows: str = ""
    """Which rows it scores."""
    beside: Beside | None = None
    """What it takes of the workers. None: it would not score."""

    @property
    def text(self) -> str:
        """What it would do, in a sentence."""
        if self.is_live:
            return f"challenger {self.model} would not score: it is the job's own model now"
        if self.problem:
            return f"challenger {self.model} would not score: {self.problem.rstrip('.')}"
        return f"challenger {self.model} scores {self.rows}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What the job's own model does in the run that challengers score beside."""

    model: PinnedModel
    facts: ModelFacts
    partition: Partition
    """With its files."""
    contract: Contract


def expect_challengers(
    job: ScoringJob, champion: Scored, *, pool: Pool, cache: ModelCache
) -> list[ExpectedChallenger]:
    """What a run of a partition would do with each challenger of the job.

    Args:
        job: With its challengers.
        champion: What its own model does.
        pool: Workers; one of them loads the models.
        cache: Models of this host.
    """
    jobs = challenger_jobs(job)
    return [_expect(label, jobs[label], champion, pool, cache) for label in jobs]


def _expect(
    label: str, job: ScoringJob, champion: Scored, pool: Pool, cache: ModelCache
) -> ExpectedChallenger:
    name = job.model
    partition = champion.partition

    try:
        model = PinnedModel.resolve(job, cache)
        name = named_model(model.version.name, model.version.version)
        if model.version == champion.model.version:
            return ExpectedChallenger(label=label, model=name, is_live=True)

        facts = learn_facts(model, cache, pool)
        contract = agree_on_columns(job, facts, partition, pool)
        schema = beside_champion(contract, champion.contract.predictions).output_schema()
        _check_canary(job, champion, model, facts, contract)

        workspace = Workspace(job)
        publisher = open_publisher(workspace)
        publisher.check()
        fits = (
            *publisher.check_fits(schema, partition.value),
            *_last_failure(workspace, partition.value),
        )
    except ScoringError as error:
        problem = "; ".join([error.what.rstrip("."), *error.problems])
        return ExpectedChallenger(label=label, model=name, problem=problem)

    predictor = choose_predictor(job, model.cached.path, facts)
    return ExpectedChallenger(
        label=label,
        model=name,
        rows=_rows(job),
        notes=(*_notes(job, model, contract, champion.contract), *fits),
        beside=Beside(predictor, contract),
    )


def _rows(challenger: ScoringJob) -> str:
    """Which rows a challenger scores, in words."""
    job = challenger.champion or challenger
    release = job.release
    if release is None or not release.is_canary:
        return "the same rows"

    shares = []
    if release.flag is not None:
        shares.append("the share that the flag says")
    if release.share is not None:
        shares.append(f"{100 * release.share:.4g} %")

    by = ", ".join(release.by or job.keys.columns[:1])
    ends = {"stop": "a critical finding ends it", "none": "no finding ends it"}
    return (
        f"{' or '.join(shares)} of the keys (by {by}, salt {release.salt}, hash {release.hash}), "
        f"and readers see its predictions of these; {ends[release.on_critical]}"
    )


def _check_canary(
    challenger: ScoringJob,
    champion: Scored,
    model: PinnedModel,
    facts: ModelFacts,
    contract: Contract,
) -> None:
    """Check that a canary may start, and that rows of its models can stand in one table.

    Raises:
        ChallengerError: It was stopped, or they cannot.
        StorageError: The release log cannot be read.
    """
    job = challenger.champion or challenger
    release = job.release
    if release is None or not release.is_canary:
        return

    why = why_stopped_by_log(job, release.salt or "")
    if why:
        raise ChallengerError(
            f"{why[0].upper()}{why[1:]}.", next_step="write another release.salt, or mode: shadow"
        )

    check_numbers(champion.model, model)
    assignment = Assignment(
        by=release.by or job.keys.columns[:1],
        salt=release.salt or "",
        share=release.share or 1.0,
        hash=release.hash,
    )
    check_alike(assignment, (champion.facts, facts), (champion.contract, contract))


def missing_results(
    job: ScoringJob, models: Collection[str], published: Collection[str | None]
) -> list[str]:
    """Of which partitions challengers have no results: a note for each challenger that lacks some.

    Args:
        job: With its challengers.
        models: Exact URIs of the versions that the job uses. Such a challenger scores nothing.
        published: Partitions of which readers see results of the job, in their order.
    """
    notes = []
    for own in challenger_jobs(job).values():
        try:
            if resolve(own.model, own.registry).uri in models:
                continue
            live = open_publisher(Workspace(own)).all_live(set(published))
        except ScoringError as error:
            notes.append(f"what {own.name} has scored is not known: {error.what}")
            continue

        missing = [show_value(value) for value in published if value not in live]
        if missing:
            notes.append(_lacks(own, missing))

    return notes


def _lacks(own: ScoringJob, missing: Sequence[str]) -> str:
    named = ", ".join(missing[:MAX_NAMED]) + (", ..." if len(missing) > MAX_NAMED else "")
    return (
        f"{own.name} has no results of {counted(len(missing), 'published partition')} ({named}): "
        "they were scored without it, or its run failed; `--mode all` scores a range by both, and "
        f"`{own.command('runs')}` lists its runs"
    )


def _last_failure(workspace: Workspace, value: str | None) -> Iterator[str]:
    """Why the challenger's newest run of a partition was not published, if it was not."""
    history = PartitionHistory(workspace, value)
    newest = next(iter(history.reconciled(open_publisher(workspace).live(value))), None)
    if newest is None or newest.status != "failed" or newest.error is None:
        return

    job, shown = workspace.job, show_value(value)
    champion = job.champion or job
    yield (
        f"its last run of {shown} was not published: {newest.error.what or newest.error.message}; "
        f"`{champion.command('run', shown, '--force')}` scores the partition by both again"
    )


def _notes(
    job: ScoringJob, model: PinnedModel, contract: Contract, champion: Contract
) -> Iterator[str]:
    if model.version.digest_tag is None and not model.version.is_logged_model:
        pin = pin_command(job, model.version)
        yield f"it has no pin, so `promote` would refuse it; `{pin}` adds one"

    if model.version.baseline_tag is None:
        yield (
            "it has no baseline, so its drift is measured against its own earlier partitions "
            f"alone, and its performance is not estimated; `{job.command('baseline')} --from DATA` "
            "logs one"
        )

    added = _names_besides(contract, champion)
    if added:
        yield f"it needs columns that the job's own model does not: {', '.join(added)}"

    own = [column.name for column in contract.predictions]
    others = [column.name for column in champion.predictions]
    if own != others:
        yield (
            f"its outputs are {', '.join(own)}, those of the job's own model {', '.join(others)}: "
            "only what both have can be compared"
        )


def _names_besides(contract: Contract, champion: Contract) -> Sequence[str]:
    """Features that only a challenger reads."""
    read = {column.name for column in champion.features}
    return [column.name for column in contract.features if column.name not in read]
