"""One challenger of a run: its own run, from its model to the columns that it will write."""

from dataclasses import replace
from datetime import UTC, datetime

from nightscore.arrow.assignment import Assignment
from nightscore.engine.planning.plan import Beside, agree_on_columns
from nightscore.engine.planning.predictor_choice import PredictorChoice, choose_predictor
from nightscore.engine.shard import ChallengerResult
from nightscore.errors import ScoringError
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.live import Live
from nightscore.models.pinned import PinnedModel
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import Publisher
from nightscore.runs.challengers.canary import Canary, check_alike
from nightscore.runs.challengers.columns import beside_champion
from nightscore.runs.drift_check import DriftCheck
from nightscore.runs.execution import Execution
from nightscore.runs.owner import check_owner
from nightscore.runs.partition_state import PartitionState
from nightscore.runs.run_plan import RunPlan, inputs_record, learn_model
from nightscore.schemas.challenger import ChallengerRecord
from nightscore.schemas.contract import Contract
from nightscore.schemas.difference import DifferenceRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.model_uri import named_model
from nightscore.schemas.text import counted

MAX_PROBLEMS = 3
"""That a sentence about a challenger names."""


def with_problems(what: str, error: BaseException | None) -> str:
    """What went wrong, and the first of its single problems."""
    problems = error.problems if isinstance(error, ScoringError) else ()
    if not problems:
        return what

    named = [what.rstrip("."), *problems[:MAX_PROBLEMS]]
    n_more = len(problems) - MAX_PROBLEMS
    if n_more > 0:
        named.append(f"and {counted(n_more, 'more problem')}")

    return "; ".join(named)


class Challenger:
    """A challenger while its champion's run is under way.

    `settle` and `join` raise whatever keeps it from scoring; nothing was read then.
    """

    def __init__(
        self, label: str, job: ScoringJob, champion: Execution, canary: Canary | None
    ) -> None:
        """Begin its run. Nothing is read or written yet.

        Args:
            label: What the job calls it.
            job: Of the challenger.
            champion: The run of the job's own model.
            canary: Says which rows it scores. None: it scores all, and readers see none of it.
        """
        self.label, self.canary = label, canary
        self.execution = Execution(
            champion.workspace.for_job(job),
            champion.value,
            pool=champion.pool,
            cache=champion.cache,
            now=datetime.now(UTC),
        )
        self.drift_check = DriftCheck(self.execution)

        self.is_refused = False
        """It was refused before any row."""
        self.is_skipped = False
        """It is the job's own model, so there is nothing to compare. It has no run."""
        self.error: BaseException | None = None
        """Why it does not score any more, or was not published. None: nothing has gone wrong."""
        self.results: list[ChallengerResult] = []
        """What the workers say of it, by shard."""
        self.champion_cpu_s = 0.0
        """CPU seconds that the workers took for the champion alone, challengers left out."""
        self.difference: DifferenceRecord | None = None
        """How its predictions differ from the champion's. None: not known, or not yet."""

        # Once it is settled.
        self.model: PinnedModel
        self.facts: ModelFacts
        self.predictor: PredictorChoice
        self.contract: Contract

        self._fingerprint = ""
        self._publisher: Publisher
        self._live: Live | None = None

    @property
    def is_canary(self) -> bool:
        """Whether it scores an arm alone, and readers see that."""
        return self.canary is not None

    @property
    def assignment(self) -> Assignment | None:
        """Which rows it scores. None: all."""
        return None if self.canary is None else self.canary.assignment

    @property
    def shown(self) -> str:
        """What messages call it."""
        model = self.execution.record.manifest.model
        if not model.version:
            return f"challenger {model.uri}"

        alias = f" (@{self.label})" if self.label != model.version else ""
        return f"challenger {named_model(model.name, model.version)}{alias}"

    def find_model(self, champion: Execution) -> None:
        """Find its exact version. Nothing is written yet."""
        execution, record = self.execution, self.execution.record
        record.update(
            champion_run_id=champion.run_id,
            champion_model=champion.record.manifest.model,
            forced=champion.record.manifest.forced,
            policy=execution.job.policy,
        )

        with record.stage("model"):
            self.model = (
                self.canary.model
                if self.canary is not None
                else PinnedModel.resolve(execution.job, execution.cache)
            )
            record.update(model=self.model.record(execution.job))

    @property
    def is_live(self) -> bool:
        """Whether its version is the job's own model, as after it was promoted."""
        manifest = self.execution.record.manifest
        own, live = manifest.model, manifest.champion_model
        return live is not None and (own.name, own.version) == (live.name, live.version)

    def settle(self, champion: Execution, state: PartitionState) -> Beside:
        """Begin its run: what its model is, and the columns that it needs.

        Args:
            champion: The run of the job's own model.
            state: Of the partition, as the champion's run has found it.
        """
        execution = self.execution
        record, job = execution.record, execution.job

        record.save("running")

        with record.stage("plan"):
            self._look_up(champion, state)

            self.facts = learn_model(execution, self.model, ())
            self.predictor = choose_predictor(job, self.model.cached.path, self.facts)
            self.contract = agree_on_columns(job, self.facts, state.partition, execution.pool)

        return Beside(self.predictor, self.contract)

    def _look_up(self, champion: Execution, state: PartitionState) -> None:
        """What stands in its table now."""
        execution = self.execution

        self._publisher = open_publisher(execution.workspace)
        self._live = self._publisher.live(execution.value)
        self._fingerprint = self.model.fingerprint(execution.job, state.partition)

        history = PartitionHistory(execution.workspace, execution.value)
        check_owner(execution.job, history.complete(self._live))

        self._publisher.check()
        execution.record.update(
            fingerprint=self._fingerprint,
            inputs=champion.record.manifest.inputs,
            replaces=self._live.run_id if self._live else None,
        )

    def join(self, plan: RunPlan) -> None:
        """Settle what it writes: its own predictions, and beside them the champion's.

        Args:
            plan: Of the champion's run.
        """
        execution, shards = self.execution, plan.shards

        if self.assignment is not None:
            check_alike(self.assignment, (plan.facts, self.facts), (plan.contract, self.contract))

        with execution.record.stage("plan"):
            self.contract = beside_champion(self.contract, plan.contract.predictions)
            schema = self.contract.output_schema()

            execution.record.warn(*self._publisher.check_fits(schema, execution.value))
            execution.record.update(
                inputs=inputs_record(
                    execution.job,
                    shards.partition,
                    execution.record.manifest.inputs.files_left_out,
                    self.contract.extra,
                )
            )

            if execution.job.drift.profile:
                self.drift_check.find_references(self.model)

    def plan(self, champion: RunPlan) -> RunPlan:
        """What its run does, in the shards of the champion's."""
        n_rows = champion.shards.n_rows
        if self.is_canary:
            # Only the keys say how many rows an arm has: the workers have counted them.
            n_rows = sum(one.result.rows_in for one in self.results if one.result is not None)

        source = replace(champion.source, job=self.execution.job, n_rows=n_rows)

        shards = replace(
            champion.shards,
            n_rows=n_rows,
            fingerprint=self._fingerprint,
            fallback_reason=self.predictor.fallback_reason,
            is_unchecked=self.predictor.is_unchecked,
            extra_columns=self.contract.extra,
        )

        return replace(
            champion,
            model=self.model,
            facts=self.facts,
            source=source,
            shards=shards,
            contract=self.contract,
            fingerprint=self._fingerprint,
            publisher=self._publisher,
            live=self._live,
            drift_check=self.drift_check,
        )

    def record(self) -> ChallengerRecord:
        """What the champion's manifest says of it."""
        manifest = self.execution.record.manifest
        model, error = manifest.model, manifest.error

        status = "refused" if self.is_refused else "unfinished"
        if manifest.status in ("published", "failed") and not self.is_refused:
            status = manifest.status
        if self.is_skipped:
            status = "skipped"

        why = (error.what or error.message) if error is not None else ""
        why = with_problems(why, self.error)

        return ChallengerRecord(
            label=self.label,
            uri=model.uri,
            name=model.name,
            version=model.version,
            digest=model.digest,
            mode="canary" if self.is_canary else "shadow",
            run_id="" if self.is_skipped else manifest.run_id,
            status=status,
            why=why,
            rows=manifest.counts.rows_scored,
            rows_refused_alone=sum(result.n_refused_alone for result in self.results),
            overhead_s=round(sum(result.cpu_s for result in self.results), 4),
            difference=self.difference,
        )
