"""All challengers of one run: they begin with it, score in its pass, and are published after it.

Whatever goes wrong here ends a challenger, and is a warning of the champion's record.
"""

import contextlib
from collections.abc import Callable, Sequence

from nightscore.engine.events import logger
from nightscore.engine.planning.plan import Beside
from nightscore.engine.shard import ShardTask
from nightscore.errors import InterruptedRunError, ScoringError
from nightscore.ledger.workspace import Workspace
from nightscore.models.pinned import PinnedModel
from nightscore.runs.challengers.canary import (
    Canary,
    choose_canary,
    discard_mixed,
    note_canary,
    with_canary,
    without_canary,
)
from nightscore.runs.challengers.canary_entries import critical_findings, note_stopped
from nightscore.runs.challengers.challenger import Challenger, with_problems
from nightscore.runs.challengers.differences import with_difference
from nightscore.runs.challengers.publication import publish_challenger
from nightscore.runs.challengers.shards import (
    check_arm,
    collect_results,
    keep_only,
    profile_spec,
    tasks_of,
    with_challengers,
    with_profile,
)
from nightscore.runs.dispatch import compile_once
from nightscore.runs.execution import Execution, RunInterrupted
from nightscore.runs.partition_state import PartitionState
from nightscore.runs.run_plan import RunPlan
from nightscore.schemas.canary import ENDS
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.manifest import Manifest


class Challengers:
    """The challengers of one run. Its methods raise nothing but what ends the process."""

    def __init__(self, champion: Execution, canary: Canary | None = None) -> None:
        """Name them. Nothing is read or written yet.

        Args:
            champion: The run of the job's own model.
            canary: Says which rows the only one scores. None: all score all rows.
        """
        self._champion, self._canary = champion, canary
        jobs = challenger_jobs(champion.job)
        if canary is not None:
            jobs = {canary.record.label: canary.job}
        self._all = [Challenger(label, job, champion, canary) for label, job in jobs.items()]
        self._plan: RunPlan | None = None
        self._scoring: list[Challenger] = []
        """Those that the shards' tasks have, in their order."""
        self._heartbeats = contextlib.ExitStack()

    @property
    def _active(self) -> list[Challenger]:
        """Those that score, and that nothing has ended."""
        return [one for one in self._all if one.error is None and not one.is_skipped]

    def settle(self, state: PartitionState, obstacle: ScoringError | None) -> list[Beside]:
        """Begin their runs, and find out what they need.

        Args:
            state: Of the partition.
            obstacle: Why none can score beside this run. None: nothing is known.
        """
        settled: list[Beside] = []

        def settle(challenger: Challenger) -> None:
            challenger.find_model(self._champion)
            if challenger.is_live:
                challenger.is_skipped = True
                return

            self._heartbeats.enter_context(challenger.execution.record.heartbeats())
            if obstacle is not None:
                raise obstacle
            settled.append(challenger.settle(self._champion, state))

        self._try_each(settle, is_refusal=True)
        return settled

    def refuse(self, error: ScoringError) -> None:
        """Have none of them score: nothing was read yet."""
        for challenger in self._active:
            self._end(challenger, error, is_refusal=True)

    def join(self, plan: RunPlan) -> None:
        """Settle what they write, beside the columns of the champion's plan."""
        self._plan = plan
        self._try_each(lambda challenger: challenger.join(plan), is_refusal=True)

    def add_to(self, tasks: Sequence[ShardTask]) -> list[ShardTask]:
        """The champion's tasks, each with those of the challengers for the same shard."""
        assert self._plan is not None  # noqa: S101
        return with_challengers(tasks, self._active, self._plan)

    def prepare(self, tasks: Sequence[ShardTask]) -> list[ShardTask]:
        """The same tasks, with what the workers profile for the challengers.

        Their models are compiled by then. Tasks have none of a challenger that cannot be prepared.
        """
        prepared, plan = list(tasks), self._plan
        assert plan is not None  # noqa: S101

        def prepare(challenger: Challenger) -> None:
            own_tasks = tasks_of(challenger, prepared)
            compile_once(challenger.execution.pool, own_tasks, challenger.model.load_s)

            prepared[:] = with_profile(challenger, prepared, profile_spec(challenger, own_tasks))
            prepared[:] = with_difference(challenger, plan, prepared)

        self._try_each(prepare)
        self._scoring = self._active
        return keep_only(prepared, self._scoring)

    def collect(self) -> None:
        """Take their results from those of the champion's shards, once all are finished."""
        results = self._champion.results.in_order()

        def collect(challenger: Challenger) -> None:
            collect_results(challenger, results, self._scoring.index(challenger))

        self._try_each(collect)
        if self._canary is not None:
            self._try_each(check_arm)
            note_canary(self._champion, self._all[0].results)
        self._note()

    @property
    def has_ended_canary(self) -> bool:
        """The run was to be a canary, and its challenger does not score any more."""
        return self._canary is not None and not self._active

    def discard_mixed(self, plan: RunPlan) -> tuple[RunPlan, set[int]]:
        """Remove the parts that have rows of a canary that has ended.

        Returns:
            The plan of the job's own model alone, and the numbers of the shards that are to be
            scored again.
        """
        mixed = discard_mixed(self._champion)
        return without_canary(self._champion, plan), mixed

    def publish(self, champion: Manifest) -> Manifest:
        """Publish them into their own tables, now that the champion's run has ended.

        Returns:
            The champion's manifest, with what became of them.
        """
        if champion.status not in ("published", "held"):
            self.fail(_not_without(champion))
            return champion

        plan, n_warnings = self._plan, len(self._champion.record.manifest.warnings)

        score_s = champion.measures.stages_s.get("score", 0.0)

        def publish(challenger: Challenger) -> None:
            assert plan is not None  # noqa: S101
            try:
                publish_challenger(challenger, plan, score_s)
            finally:
                challenger.execution.lease.release()
            if self._canary is not None:
                self._judge(challenger, self._canary)

        try:
            self._try_each(publish)
        except BaseException as error:
            self.fail(error)
            self._note()
            amended = self._amend(champion, n_warnings)

            if isinstance(error, KeyboardInterrupt):
                raise RunInterrupted(amended) from error
            raise

        self._heartbeats.close()
        self._note()

        return self._amend(champion, n_warnings)

    def _judge(self, challenger: Challenger, canary: Canary) -> None:
        """Stop the canary, from the next run on, if its challenger's run has a critical finding."""
        release = self._champion.job.release
        is_of_today = self._champion.job.original_model is None
        if release is None or release.on_critical != "stop" or not is_of_today:
            return

        champion = self._champion.record.manifest
        findings = critical_findings(challenger.execution.record.manifest, champion)
        if findings:
            note_stopped(self._champion, canary.record, findings[0])
            self._warn(f"{challenger.shown} has a critical finding, {ENDS}: {findings[0]}")

    def published_spaces(self) -> list[Workspace]:
        """The workspaces of those that were published."""
        return [challenger.execution.workspace for challenger in self._active]

    def fail(self, error: BaseException) -> None:
        """Record that those are not published which are not yet, since the process goes no further.

        Args:
            error: How the champion's run ended.
        """
        if isinstance(error, KeyboardInterrupt):
            error = _interrupted(self._champion)

        for challenger in self._active:
            self._end(challenger, error)
        self._heartbeats.close()

    def _try_each(self, step: Callable[[Challenger], None], *, is_refusal: bool = False) -> None:
        """Take a step with each challenger. What it raises ends that challenger alone."""
        for challenger in self._active:
            try:
                step(challenger)
            except Exception as error:  # noqa: BLE001 (the champion's run goes on, whatever it is)
                self._end(challenger, error, is_refusal=is_refusal)

    def _end(
        self, challenger: Challenger, error: BaseException, *, is_refusal: bool = False
    ) -> None:
        """Record a challenger's failure in both runs."""
        challenger.error, challenger.is_refused = error, is_refusal
        manifest = challenger.execution.fail(error)

        what = error.what if isinstance(error, ScoringError) else f"{type(error).__name__}: {error}"
        verb = "did not score" if is_refusal else "was not published"
        note = f"{challenger.shown} {verb}: {with_problems(what, error).rstrip('.')}"
        if manifest.location:
            note += f"; `{challenger.execution.job.command('runs', '--json')}` says more"
        self._warn(note)

    def _warn(self, note: str) -> None:
        run_id, value = self._champion.run_id, self._champion.shown_value
        logger.warning("run_id=%s partition=%s %s", run_id, value, note)
        self._champion.record.warn(note)

    def _note(self) -> None:
        """Have the champion's record say what is known of them."""
        records = tuple(challenger.record() for challenger in self._all)
        self._champion.record.update(challengers=records)

    def _amend(self, champion: Manifest, n_warnings: int) -> Manifest:
        """Write what became of them into the champion's record, which has ended already."""
        from nightscore.ledger.manifest_files import find_manifest, write_manifest

        record, folder = self._champion.record.manifest, self._champion.folder
        state = self._champion.workspace.state

        added = {
            "challengers": record.challengers,
            "warnings": (*champion.warnings, *record.warnings[n_warnings:]),
        }
        if not champion.location:
            return champion.model_copy(update=added)

        try:
            # A person may have decided on a held run meanwhile.
            stored = find_manifest(state, folder, champion.run_id) or champion
            return write_manifest(state, folder, stored.model_copy(update=added))
        except ScoringError as error:
            note = f"the record could not be amended by its challengers: {error.what}"
            added["warnings"] = (*added["warnings"], note)
            return champion.model_copy(update=added)


def begin_challengers(
    execution: Execution, model: PinnedModel, state: PartitionState
) -> tuple[Challengers | None, PartitionState]:
    """Have the job's challengers score beside a run.

    Args:
        execution: The run.
        model: The job's own.
        state: Of the partition.

    Returns:
        The challengers; None: the job's own model scores alone. And the state: of a canary, its
        fingerprint says that two models score.
    """
    canary = choose_canary(execution, model, state)
    if canary is not None:
        return Challengers(execution, canary), with_canary(execution, model, state, canary)

    release = execution.job.release
    has_shadows = release is not None and bool(release.challenger) and not release.is_canary

    return (Challengers(execution) if has_shadows else None), state


def _not_without(champion: Manifest) -> ScoringError:
    """The error of a challenger whose champion was not published."""
    what = champion.error.what if champion.error is not None else champion.status
    return ScoringError(
        "The run of the job's own model failed, so the challenger was not published either.",
        champion.partition or "",
        found=what,
        next_step="see the record of that run",
    )


def _interrupted(champion: Execution) -> ScoringError:
    """The error of a challenger that somebody stopped."""
    return InterruptedRunError(
        "The run was interrupted; the challenger was not published.",
        champion.folder,
        next_step=f"`{champion.job.command('run', champion.shown_value, '--force')}` scores the "
        "partition by both again",
    )
