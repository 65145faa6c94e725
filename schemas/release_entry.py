"""The entries of a release log: which version was live when, who decided so, and why."""

from datetime import datetime
from typing import Literal

from nightscore.schemas.base_record import Stored
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.manifest import DecisionRecord, VersionedRecord
from nightscore.schemas.performance import MetricRecord

ReleaseKind = Literal["promoted", "demoted", "moved", "rejected"]
"""`moved`: somebody moved the alias by other means, and a run or a command noticed it.
`rejected`: a promotion was proposed, and did not take place."""


class VersionRecord(Stored):
    """One version of the registered model."""

    version: str
    digest: str = ""
    """Digest of its artifacts. Empty: not known, as of a version that somebody else made live."""


class ChangeRecord(Stored):
    """One thing that differs between two model versions. Empty: there is none on that side."""

    what: str
    """Name of a feature, a parameter, an output or a library; else what it is, such as `size`."""
    before: str = ""
    after: str = ""


class ModelDiffRecord(Stored):
    """What differs between two versions of a model. Nothing of them was executed."""

    before: str
    """URI of the version."""
    after: str
    changes: dict[str, tuple[ChangeRecord, ...]] = {}
    """By aspect: `features`, `outputs`, `parameters`, `flavors`, `libraries`, `baseline`,
    `size`."""
    same: tuple[str, ...] = ()
    """Aspects in which both are equal."""
    not_stored: dict[str, str] = {}
    """Aspects that cannot be compared, and why."""


class BaselineEvidence(Stored):
    """How right a version was on the labelled rows of its own baseline."""

    version: str
    baseline: str = ""
    """The baseline's sha256. Empty: there is none."""
    metrics: tuple[MetricRecord, ...] = ()
    note: str = ""
    """Why there are no metrics."""


class PartitionEvidence(Stored):
    """How right the version that was live was on one partition."""

    partition: str
    run_id: str
    rows: int = 0
    estimated: tuple[MetricRecord, ...] = ()
    realised: tuple[MetricRecord, ...] = ()
    is_matured: bool = False
    """All labels should have been known. Early ones may be a selection."""
    is_selection: bool = False
    """The labelled rows are a selection by score, which does not stand for all rows. False also in
    entries from before this was stored."""


class CheckEvidence(Stored):
    """One thing that was looked at before the alias moved."""

    name: str
    state: str
    found: str


class EvidenceRecord(Stored):
    """What was known when a version was made live."""

    checks: tuple[CheckEvidence, ...] = ()
    """What a run of the new version needs, looked at on the newest partition."""
    baselines: tuple[BaselineEvidence, ...] = ()
    """Of the version before and of the new one. Each is on rows of its own: they are no
    comparison."""
    live: tuple[PartitionEvidence, ...] = ()
    """The latest partitions that the version before has scored."""
    challenger: tuple[PartitionEvidence, ...] = ()
    """The latest partitions that the new version has scored as a challenger. Empty: none, or the
    entry is from before this was stored."""
    comparison: ComparisonRecord | None = None
    """Both versions on the same rows, which they scored as champion and challenger. Null: not
    stored."""
    no_comparison: tuple[str, ...] = ()
    """Why nothing shows that the new version is better on the same labelled rows. Empty: the
    comparison does."""
    without_labels: bool = False
    """Somebody accepted that with `--without-labels`."""


class ReleaseEntry(VersionedRecord):
    """One entry of a release log. It is never changed; its outcome is a record of its own.

    A proposal is the entry that a promotion is going to have, in a file beside.
    """

    number: int
    """Counts the entries from 1."""
    kind: ReleaseKind
    registry: str
    """URI of the registry, without credentials."""
    model: str
    alias: str
    before: VersionRecord | None = None
    """What the alias meant before. Null: nothing, or nobody knows."""
    after: VersionRecord
    """What it means after."""
    job: str
    """The job for which it was done, or whose run noticed it."""
    by: str
    """Who: user and host, or a flow run. Of a promotion that was proposed: who proposed it."""
    at: datetime
    """In UTC. The alias moves after it, or was moved before it, of `moved`."""
    proposed_at: datetime | None = None
    """In UTC. Null: it was not proposed, but done."""
    decision: DecisionRecord | None = None
    """Who approved or rejected a proposal. Null: there was none, or nobody has decided yet."""
    at_approval: ComparisonRecord | None = None
    """Both versions on the same rows, as they stood when somebody approved the proposal; `evidence`
    is what its author knew. Null: nothing compared them, or it was not stored."""
    engine: str
    """Version of nightscore."""
    note: str = ""
    jobs: tuple[str, ...] = ()
    """All known jobs that the alias moves."""
    evidence: EvidenceRecord | None = None
    diff: ModelDiffRecord | None = None


class CanaryEntry(VersionedRecord):
    """A canary of a job began, or ended. It is never changed."""

    number: int
    """Counts the job's entries from 1."""
    kind: Literal["started", "stopped", "ended"]
    """`started`: a run was the first one with these arms. `stopped`: a critical finding ended it,
    and only a promotion or another salt starts it again. `ended`: the job names no canary any
    more, or its challenger was promoted."""
    job: str
    canary: CanaryRecord
    """Version and arms."""
    by: str
    """Who: user and host, or a flow run."""
    at: datetime
    """In UTC."""
    engine: str
    """Version of nightscore."""
    run_id: str = ""
    """Of the run that began or ended it."""
    why: str = ""
    """Why it was stopped."""


class OutcomeRecord(VersionedRecord):
    """What became of an entry."""

    number: int
    """The entry's."""
    outcome: Literal["done", "abandoned"]
    """`done`: the alias means the new version. `abandoned`: it was not moved by this entry."""
    by: str
    at: datetime
    """In UTC."""
    reason: str = ""
    """Why it was abandoned."""


class ReleaseJobRecord(VersionedRecord):
    """A job that uses the alias."""

    job: str
    output: str
    """Its `output.uri`."""
    file: str = ""
    """Name, path or URL of its file, as a command had it."""
    at: datetime
    """When it was noted, in UTC."""
