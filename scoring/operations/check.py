"""Checks all that a run of a job needs, without scoring. What is wrong is found at once."""

import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning.environment import version_warnings
from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.engine.pool import Pool
from nightscore.engine.worker_backend_catalog import open_pool
from nightscore.errors import (
    ContractError,
    InputError,
    InvalidJobError,
    StorageUnavailableError,
)
from nightscore.inputs.date_formats import is_date, newest_value, other_dates, recognise_format
from nightscore.inputs.footers import read_footers
from nightscore.inputs.inapplicable_gates import inapplicable_gates
from nightscore.inputs.job_lookup import find_job
from nightscore.inputs.jobfile import load_job
from nightscore.inputs.layouts import no_partitions
from nightscore.inputs.partitions import find_partition, list_partitions
from nightscore.inputs.prediction_columns import choose_predictions
from nightscore.inputs.values import check_value, respelled
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.release_log import FORGOTTEN_DAYS, ReleaseLog, waiting_days
from nightscore.ledger.workspace import Workspace
from nightscore.models.aliases import alias_of_job
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.models.registries.uris import redacted, registry_uri
from nightscore.models.registry_catalog import open_registry
from nightscore.monitoring.drift.stored_profiles import current_baseline
from nightscore.operations.challengers import Scored, expect_challengers
from nightscore.operations.checklist import Check, Checklist, Finding, UnknownError, known
from nightscore.operations.first_rows import score_first_rows, states_all_types
from nightscore.outputs.guarantees import missing_guarantees, unnoticed_changes
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import Publisher
from nightscore.runs.gates import GATES
from nightscore.runs.owner import check_owner
from nightscore.schemas.contract import Contract
from nightscore.schemas.gates import Gates
from nightscore.schemas.job import ScoringJob, Workers
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Partition, show_value
from nightscore.schemas.text import counted
from nightscore.storage.probe import check_creates, check_writable

PREFECT = "Prefect"
"""Name of the check of Prefect's server, without which a run can publish from here."""
PATIENCE_S = 5.0
"""For an answer of the registry and of Prefect's API. Both take milliseconds; somebody waits."""
NEEDS_LOGIN = (401, 403)
"""Statuses of a server that is there. The flows have its key."""
ROWS = "rows"
"""Name of the check of the first rows. It is made only if types tell too little."""
SHOWN_BYTES = 60
SHOWN_DIGITS = len("sha256:") + 12
SHOWN_NAMES = 5


def check_job(
    source: str,
    cache: ModelCache,
    partition: str | None = None,
    prefect_url: str = "",
    open_workers: Callable[[Workers], AbstractContextManager[Pool]] = open_pool,
    patience_s: float = PATIENCE_S,
) -> list[Check]:
    """Look at everything that a run of a job needs. Nothing is left in its stores.

    Args:
        source: Name, path or URL of the job file.
        cache: Models of this host.
        partition: Value of the partition to look at; None: the newest.
        prefect_url: URL of Prefect's API; empty: there is none.
        open_workers: Opens the pool that loads the model.
        patience_s: Seconds that the registry and Prefect's API have to answer.
    """
    checklist = Checklist()
    job = checklist.look("job file", lambda: _read_job(source))

    if job is not None:
        with open_workers(job.workers) as pool:
            _JobChecks(checklist, job, cache, pool, patience_s).look_at_all(partition)
    else:
        checklist.skip("all else", "needs the job file")

    if prefect_url:
        checklist.look(PREFECT, lambda: _ask_prefect(prefect_url, patience_s))
    else:
        checklist.skip(PREFECT, "PREFECT_API_URL is not set")

    return checklist.checks


def check_model(job: ScoringJob, cache: ModelCache, pool: Pool) -> list[Check]:
    """Look at everything that a run of a job needs, but for its file and Prefect.

    Args:
        job: With the model version in question as its `model`.
        cache: Models of this host.
        pool: Loads the model.
    """
    checklist = Checklist()
    _JobChecks(checklist, job, cache, pool, PATIENCE_S).look_at_all(None)
    return checklist.checks


class _JobChecks:
    """The checks of one job. Each uses what those before it have found."""

    def __init__(
        self,
        checklist: Checklist,
        job: ScoringJob,
        cache: ModelCache,
        pool: Pool,
        patience_s: float,
    ) -> None:
        self._checklist, self._workspace = checklist, Workspace(job)
        self._job, self._cache, self._pool = job, cache, pool
        self._patience_s = patience_s

        self._is_registry_silent = False
        self._model: PinnedModel | None = None
        self._capacity: int | None = None
        self._facts: ModelFacts | None = None
        self._values: list[str | None] | None = None
        self._partition: Partition | None = None
        self._contract: Contract | None = None
        self._publisher: Publisher | None = None

    def look_at_all(self, partition: str | None) -> None:
        """Look at the model, the input and the output.

        Args:
            partition: Value of the partition to look at; None: the newest.
        """
        look = self._checklist.look

        look("registry", self._reach_registry)
        self._model = look("model", self._resolve_model)
        self._capacity = look("workers", self._count_workers)
        self._facts = look("loading", self._load_model)
        look("baseline", self._read_baseline)

        self._values = look("input", self._list_input)
        self._partition = look("partition", lambda: self._read_partition(partition))
        self._contract = look("columns", self._compare_columns)
        self._look_at_first_rows()
        look("gates", self._compare_gates)

        self._publisher = look("output", self._write_output)
        look("table", self._compare_table)
        if self._job.release is not None and self._job.release.challenger:
            look("challengers", self._look_at_challengers)
        if self._job.release is not None and self._job.release.approval == "required":
            look("release", self._look_for_proposal)

    def _look_for_proposal(self) -> Finding[None]:
        """A version that waits for approval. If it has for long, nobody may know of it."""
        alias = alias_of_job(self._job)
        if alias is None:
            return Finding(None, "the model is no alias: no release needs approval")

        log = ReleaseLog(self._job, alias.model, alias.alias)
        proposal = log.proposal(log.read())

        if proposal is None:
            return Finding(None, "no version waits for approval")

        version, n_days = proposal.after.version, waiting_days(proposal, datetime.now(UTC))
        text = f"version {version} waits for approval"
        decide = self._job.command("approve", "--release", version)
        warning = (
            f"version {version} has waited for approval for {n_days:,} days: somebody other than "
            f"{proposal.by} approves it with `{decide}`, or drops it with `reject`"
        )

        return Finding(None, text, [warning] if n_days >= FORGOTTEN_DAYS else [])

    def _look_at_challengers(self) -> Finding[None]:
        """What keeps a challenger from scoring keeps no run from publishing: it is a warning."""
        scored = Scored(
            model=known(self._model, "model"),
            facts=known(self._facts, "model"),
            partition=known(self._partition, "partition"),
            contract=known(self._contract, "columns"),
        )
        expected = expect_challengers(self._job, scored, pool=self._pool, cache=self._cache)

        scoring = [f"{one.model} scores {one.rows}" for one in expected if one.rows]
        text = f"beside the job's own model: {'; '.join(scoring) or 'none'}"

        warnings = [one.text for one in expected if not one.rows]
        for one in expected:
            warnings += [f"challenger {one.model}: {note}" for note in one.notes]

        return Finding(None, text, warnings)

    def _reach_registry(self) -> Finding[None]:
        uri = registry_uri(self._job.registry)
        try:
            with open_registry(uri, self._patience_s) as registry:
                names = registry.names()
        except StorageUnavailableError as error:
            self._is_registry_silent = True
            raise _with_longer_patience(error) from error

        return Finding(None, f"{redacted(uri)}: {counted(len(names), 'registered model')}")

    def _resolve_model(self) -> Finding[PinnedModel]:
        if self._is_registry_silent:
            raise UnknownError("registry")  # asking again would take as long again

        model = PinnedModel.resolve(self._job, self._cache)
        pinned = "pinned to" if model.is_pinned else "not pinned,"
        digest = model.cached.digest[:SHOWN_DIGITS]

        text = f"{model.version}, {pinned} {digest}…"
        return Finding(model, text, model.warnings)

    def _count_workers(self) -> Finding[int]:
        workers, capacity = self._job.workers, self._pool.capacity
        place = f"{workers.backend} at {workers.address}" if workers.address else "this machine"
        return Finding(capacity, f"{place}: up to {workers.count or capacity} at once")

    def _load_model(self) -> Finding[ModelFacts]:
        model = known(self._model, "model")
        known(self._capacity, "workers")
        facts = learn_facts(model, self._cache, self._pool)
        return Finding(facts, describe_facts(facts), version_warnings(facts))

    def _read_baseline(self) -> Finding[None]:
        model = known(self._model, "model")
        try:
            baseline = current_baseline(self._workspace, model, self._cache)
        except ValueError as error:
            raise InputError(
                "The model's baseline is no profile.",
                model.version.baseline_tag or "",
                found=str(error),
                next_step="log it again with `nightscore baseline JOB --from URI`",
            ) from error

        if baseline is None:
            return Finding(None, "none: drift is measured against earlier partitions alone")

        sha256, columns = baseline
        return Finding(None, f"{counted(len(columns), 'profile')}, {sha256[:SHOWN_DIGITS]}…")

    def _list_input(self) -> Finding[list[str | None]]:
        values = list(list_partitions(self._job))
        if not values:
            raise no_partitions(self._job, *self._workspace.inputs.list_names())

        shown = f"{show_value(values[0])} to {show_value(values[-1])}"
        if len(values) == 1:
            shown = show_value(values[0])

        text = f"{counted(len(values), 'partition')}: {shown}"
        return Finding(values, text, self._date_warnings(values))

    def _date_warnings(self, values: Sequence[str | None]) -> list[str]:
        """What commands with dates would not find."""
        stated = self._job.input.partition_format
        if any(is_date(value, stated) for value in values):
            odd = other_dates(values, stated)
            return [f"{odd}: backfills and the nightly flow do not see them"] if odd else []

        usual = recognise_format(values)
        advice = "`backfill` and the nightly flow need dates; `run` takes any value"
        if usual is not None:
            advice = f"write `partition_format: '{usual}'` below `input`, as the folders have it"

        shown = show_value(values[0])
        return [f"no partition is a date in the format {stated}, such as {shown}; {advice}"]

    def _read_partition(self, value: str | None) -> Finding[Partition]:
        values = known(self._values, "input")
        wanted = newest_value(values, self._job.input.partition_format)
        if value is not None:
            wanted = respelled(self._job, value)
            check_value(self._job, wanted, "check")

        partition, left_out = find_partition(self._workspace, wanted)
        footers = read_footers(self._workspace.inputs, partition.files)

        n_rows = sum(footer.n_rows for footer in footers)
        text = f"{show_value(wanted)}: {counted(n_rows, 'row')} in {counted(len(footers), 'file')}"
        warnings = unnoticed_changes(self._job, [file.version for file in partition.files])
        if left_out:
            warnings.append(f"input.files leaves out {_listed(left_out)}")
        if not footers:
            warnings.append("the folder has no files: a run would publish no rows")

        keys = self._job.keys
        for name in keys.columns:
            if any(name in footer.with_nulls for footer in footers):
                effect = "two of them would be one key" if keys.unique else "no row is lost"
                warnings.append(f"the key {name} is null in some rows; {effect}")

        return Finding(partition, text, warnings)

    def _compare_columns(self) -> Finding[Contract]:
        partition = known(self._partition, "partition")
        model, facts = known(self._model, "model"), known(self._facts, "model")

        job = self._job.model_copy(update={"gates": Gates()})  # they are a check of their own
        workers = PlannedWorkers(known(self._capacity, "workers"), self._pool)
        _, contract = plan_partition(job, model, facts, partition, workers)
        if not contract.features:
            raise UnknownError("columns of a file")

        carried = [column.name for column in contract.passthrough]
        if contract.has_position:
            carried = ["source_file", "source_row", *carried]

        text = f"{counted(len(contract.features), 'feature')}; beside each prediction: "
        text += ", ".join(carried[:SHOWN_NAMES])
        if contract.extra:
            text += f"; not read: {_listed(contract.extra)}"

        return Finding(contract, text)

    def _look_at_first_rows(self) -> None:
        """Have the model predict a few rows, if only that shows whether it takes the columns."""
        if self._contract is None or states_all_types(self._contract):
            return
        if self._job.workers.is_cluster:
            self._checklist.skip(ROWS, "only the cluster's workers could score some")
        else:
            self._checklist.look(ROWS, self._score_first_rows)

    def _score_first_rows(self) -> Finding[None]:
        model, facts = known(self._model, "model"), known(self._facts, "model")
        partition = known(self._partition, "partition")

        tried = score_first_rows(self._job, model, facts, partition, self._pool)
        text = f"the model predicts {counted(tried.n_rows, 'row')}"
        return Finding(None, text, [f"rows for the quarantine: {why}" for why in tried.refused])

    def _compare_gates(self) -> Finding[None]:
        facts, problems = known(self._facts, "model"), list[str]()
        predictions = choose_predictions(self._job, facts, [])
        if predictions:
            features = self._job.features or [feature.name for feature in facts.features]
            problems = inapplicable_gates(self._job, facts, features, predictions)

        if problems:
            raise ContractError(
                f"The gates do not fit the model: {counted(len(problems), 'problem')}.",
                expected="gates that can apply to what the model returns",
                problems=problems,
                next_step="correct them below `gates` in the job file, or remove them",
            )

        actions = {gate.name: gate.action(self._job) for gate in GATES}
        shown = [f"{name}: {action}" for name, action in actions.items() if action != "off"]
        return Finding(None, ", ".join(shown) or "none")

    def _write_output(self) -> Finding[Publisher]:
        publisher = open_publisher(self._workspace)
        check_creates(self._workspace.state)
        check_writable(self._workspace.predictions)
        publisher.check()

        able = "two writers cannot both publish a partition"
        if not self._workspace.state.capabilities.can_create:
            able = "the table's own commits decide between two writers"

        text = f"{self._job.output.format} at {self._job.output.uri}: writable; {able}"
        return Finding(publisher, text, missing_guarantees(self._job))

    def _compare_table(self) -> Finding[None]:
        publisher, contract = known(self._publisher, "output"), known(self._contract, "columns")
        value = known(self._partition, "partition").value

        warnings: Sequence[str] = ()
        if self._job.champion is None:  # a challenger's table has its champion's columns, too
            warnings = publisher.check_fits(contract.output_schema(), value)
        live = publisher.all_live()
        if value in live:
            history = PartitionHistory(self._workspace, value)
            check_owner(self._job, history.standing(live[value]))

        text = "nothing is published yet"
        if live:
            text = f"{counted(len(live), 'partition')} published; the columns fit"
        return Finding(None, text, warnings)


def describe_facts(facts: ModelFacts) -> str:
    """What a model is, in a few words."""
    kind = facts.estimator or facts.flavor
    columns = f"{counted(facts.n_columns, 'column')} by position"
    if facts.features:
        columns = f"{counted(len(facts.features), 'column')} by name"

    text = f"{kind}, {columns}"
    if facts.classes:
        text += f", classes {_listed([str(label) for label in facts.classes])}"
    return text


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many others there are."""
    n_others = len(names) - SHOWN_NAMES
    shown = ", ".join(names[:SHOWN_NAMES])
    return f"{shown} and {n_others:,} more" if n_others > 0 else shown


def _with_longer_patience(error: StorageUnavailableError) -> StorageUnavailableError:
    """The error, with the way to wait longer if time was too short."""
    if not isinstance(error.__cause__, TimeoutError):
        return error
    return StorageUnavailableError(
        error.what,
        error.where,
        expected=error.expected,
        found=error.found,
        next_step=f"{error.next_step}; if the network is slow: nightscore check --timeout 60",
    )


def _read_job(source: str) -> Finding[ScoringJob]:
    job = load_job(source)
    return Finding(job, f"{find_job(source)}, job {job.name}")


def _ask_prefect(url: str, patience_s: float) -> Finding[None]:
    """Whether Prefect's API answers."""
    shown, advice = redacted(url), "start the server, or correct PREFECT_API_URL"
    if not url.startswith(("http://", "https://")):
        raise InvalidJobError(
            "PREFECT_API_URL is no address of a server.",
            found=shown,
            expected="a URL such as http://127.0.0.1:4200/api",
            next_step="correct the variable, or unset it",
        )

    request = urllib.request.Request(f"{url.rstrip('/')}/health")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=patience_s) as answer:  # noqa: S310
            found = answer.read(SHOWN_BYTES).decode(errors="replace")
    except urllib.error.HTTPError as error:
        found = "true" if error.code in NEEDS_LOGIN else f"status {error.code}"
    except (OSError, ValueError) as error:
        raise StorageUnavailableError(
            "Prefect's API does not answer.",
            shown,
            found=f"{type(error).__name__}: {error}",
            next_step=advice,
        ) from error

    if found != "true":
        raise InvalidJobError(
            "There is no Prefect API at PREFECT_API_URL.",
            shown,
            expected="a URL that ends in /api, such as http://127.0.0.1:4200/api",
            found=found,
            next_step="correct the variable",
        )

    return Finding(None, f"{shown} answers")
