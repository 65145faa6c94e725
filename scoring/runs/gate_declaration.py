"""What a gate declares about itself, and the finished run that it looks at."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from nightscore.ledger.timeline import earlier_values, latest_publications
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.duplicates import Duplicates
from nightscore.schemas.gates import GateAction
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import ColumnRecord, GateRecord, Manifest

Action = GateAction | Literal["off"]
NO_DUPLICATES = Duplicates(0, ())


class FinishedRun:
    """A complete run: its record, and what the record does not say."""

    def __init__(
        self,
        workspace: Workspace,
        manifest: Manifest,
        duplicates: Duplicates = NO_DUPLICATES,
        comparison_failure: str = "",
    ) -> None:
        """Take what is known of a run.

        Args:
            workspace: Of the job.
            manifest: The run's record, with its counts and columns.
            duplicates: Rows whose keys another row has too.
            comparison_failure: Why the columns could not be compared with earlier partitions,
                though the job asks for it.
        """
        self.job, self.manifest = workspace.job, manifest
        self.duplicates = duplicates
        self.comparison_failure = comparison_failure

        self._workspace = workspace
        self._publications: Iterator[Manifest] | None = None
        self._earlier: list[Manifest] = []

    @property
    def predictions(self) -> list[ColumnRecord]:
        """The columns that the model predicted."""
        return [column for column in self.manifest.columns if column.role == "prediction"]

    def earlier(self, n_runs: int) -> Sequence[Manifest]:
        """The latest publications of the partitions before, nearest first, at most this many.

        They are read once, however many gates ask.
        """
        if self._publications is None:
            values = earlier_values(self._workspace, self.manifest.partition)
            self._publications = latest_publications(self._workspace, values)

        n_missing = max(0, n_runs - len(self._earlier))
        self._earlier += islice(self._publications, n_missing)

        return self._earlier[:n_runs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a gate says of a run, or of one of its columns."""

    passed: bool
    expected: str
    found: str
    column: str = ""
    """The column that is judged. Empty: the run as a whole."""
    only_warns: bool = False
    """It could not be judged: whatever the job's action, the run is published with a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A check between scoring and publishing. `gates.GATES` lists them all."""

    name: str
    """As the manifest names it. An outcome of one column is named `<name> of <column>`."""
    looks_beyond_record: bool
    """It looks at more than the run's own record: at other runs, or at the rows themselves.

    These may have changed by the time a held run is judged again. What was found then stands,
    unless the gate expects something else by now.
    """
    action: Callable[[ScoringJob], Action]
    """What the job wants if the gate does not pass. `off`: the job has no such gate."""
    outcomes: Callable[[FinishedRun], Iterable[Outcome]]
    """The check. It is asked only if the gate is not off."""

    def check(self, run: FinishedRun) -> list[GateRecord]:
        """What the manifest says of this gate; nothing if the gate is off, or says nothing."""
        action = self.action(run.job)
        if action == "off":
            return []

        return [
            GateRecord(
                gate=f"{self.name} of {outcome.column}" if outcome.column else self.name,
                action="warn" if outcome.only_warns else action,
                passed=outcome.passed,
                expected=outcome.expected,
                found=outcome.found,
            )
            for outcome in self.outcomes(run)
        ]

    def wrote(self, record: GateRecord) -> bool:
        """Whether a record is of this gate."""
        return record.gate == self.name or record.gate.startswith(f"{self.name} of ")
