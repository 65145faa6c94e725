"""A job: what to score, with which model, under which limits."""

import json
import posixpath
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator

from nightscore.schemas.record import Record

ColumnName = Annotated[str, Field(min_length=1)]
ValuePolicy = Literal["auto", "error", "quarantine", "pass"]
GateAction = Literal["fail", "hold", "warn"]
FiniteNumber = Annotated[float, Field(allow_inf_nan=False)]
StorageOptions = Annotated[dict[str, JsonValue], Field(default_factory=dict, repr=False)]

MODEL_URI = re.compile(r"models:/(?P<name>[^/@:]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")

AZURE_SCHEMES = ("az", "abfs", "abfss")
SIGNATURE = re.compile(
    r"[?&](sig|X-Amz-Signature|X-Goog-Signature|\w*token|\w*password)=", re.IGNORECASE
)

OUTPUT_COLUMNS = (
    "source_file",
    "source_row",
    "prediction",
    "probability",
    "model_version",
    "run_id",
)
"""Names that the output may use for itself; keys and pass-through columns must not."""


class Input(Record):
    """Where the partitions are."""

    uri: str
    """Any fsspec URL or a path; a partition is the folder `<uri>/<partition_key>=<value>/`."""
    partition_key: ColumnName = "ds"
    """`ds` is what Hive and Airflow call the date of a partition."""
    partition_format: str = "%Y-%m-%d"
    """How a date is written as partition value (strftime); used where dates are counted, such as backfills, and where
    partitions are put in order. Values that are no such dates are in the order of numbers, then of texts."""
    files: Annotated[str, Field(min_length=1)] | None = None
    """Names of the files that count, such as `*.parquet` (`*`, `?`, `[...]`); others are left out and counted in the
    record. null: all files, so that none is left out unseen: one that is no Parquet stops the run. Names that begin
    with `_` or `.`, checksums (`*.crc`) and empty markers never count."""
    storage_options: StorageOptions
    """fsspec's or object_store's names; values may be `${ENV_NAME}`. Never printed, never stored."""

    @field_validator("uri")
    @classmethod
    def _has_no_secret(cls, uri: str) -> str:
        return check_uri(uri)

    @field_validator("files")
    @classmethod
    def _is_of_names(cls, pattern: str | None) -> str | None:
        if pattern is not None and "/" in pattern:
            raise ValueError(
                f"expected a pattern of file names, without folders, found {pattern!r}"
            )
        if pattern is not None and pattern.startswith(("_", ".")):
            raise ValueError(f"names that begin with _ or . never count, found {pattern!r}")
        return pattern

    @field_validator("partition_key")
    @classmethod
    def _is_plain(cls, key: str) -> str:
        if re.search(r"[=/\\\x00]", key):
            raise ValueError("must not contain '=', '/', '\\' or NUL")
        return key

    @field_validator("partition_format")
    @classmethod
    def _names_a_date(cls, pattern: str) -> str:
        if "%" not in pattern:
            raise ValueError(f"expected a strftime pattern such as '%Y-%m-%d', found {pattern!r}")
        return pattern


class Output(Record):
    """Where the predictions go."""

    uri: str
    """The Delta table or the root of the Parquet partitions; run records stand beside it in `<uri>.nightscore`."""
    format: Literal["delta", "parquet"] = "delta"
    """`delta`: a table that everything reads, with history. `parquet`: one object per partition, for consumers
    that only glob. Delta is the default since a reader of it never sees a partition in between."""
    storage_options: StorageOptions

    @field_validator("uri")
    @classmethod
    def _is_below_a_root(cls, uri: str) -> str:
        uri = check_uri(uri).rstrip("/")
        split = urlsplit(uri)
        if "://" in uri and split.scheme != "file" and not split.path.strip("/"):
            raise ValueError("needs a path below the bucket, since run records are kept beside it")
        return uri


class Limits(Record):
    """How much may go wrong, and how much memory may be used."""

    max_quarantined_rows: Annotated[int, Field(ge=0)] = 0
    """0: no row may be lost to quarantine unless somebody decided so."""
    max_quarantined_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of the partition's rows. With both limits set, both must hold; a limit left at 0 is then not in force."""
    memory_bytes: Annotated[int, Field(ge=64 << 20)] | None = None
    """Bound of the whole run, all workers together; null: batches sized by default and one worker a core. On a
    cluster, of each worker's process: batches are sized to fit, and how many of them share a node is the cluster's to
    say (its own bounds, such as Dask's `--memory-limit`, do not see these processes)."""
    shard_minutes: Annotated[float, Field(gt=0.0)] = 60.0
    """A worker that is longer at one shard hangs, on a store that neither answers nor fails, say: it is ended and its
    shard scored again."""


class Keys(Record):
    """Columns that travel with every prediction. A list of names stands for these columns without further claim."""

    columns: tuple[ColumnName, ...] = ()
    unique: bool = False
    """No two published rows of a partition may have the same values; `gates.unique_keys` says what happens if they
    have."""


def _as_keys(value: Any) -> Any:
    return {"columns": value} if isinstance(value, list | tuple) else value


class Policy(Record):
    """What becomes of rows with values that a model may refuse, in any feature.

    `auto`: the model decides: it is given them, and rows that it refuses are quarantined (trees take missing values,
    linear models do not). `pass`: given to the model; rows that it refuses are quarantined all the same, as there is
    no prediction for them. `quarantine`: kept apart even if the model would take them. `error`: one such row, and
    nothing is published; all of them are counted and kept.
    """

    missing: ValuePolicy = "auto"
    """null and NaN."""
    infinite: ValuePolicy = "auto"
    overflow: ValuePolicy = "auto"
    """Finite, but beyond float32, which scikit-learn's trees compute with."""
    cast: ValuePolicy = "auto"
    """Values that would change in the type that the model wants, and text that is not UTF-8: quarantined by default;
    with `pass` the model is given a missing value in their place. In keys and passed-through columns they are
    quarantined whatever this says."""
    unseen_category: ValuePolicy = "auto"
    """Values that the model's encoders were not fitted on."""


class Range(Record):
    """Bounds, both included."""

    min: FiniteNumber | None = None
    max: FiniteNumber | None = None
    action: GateAction = "fail"

    @model_validator(mode="after")
    def _has_bounds(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("needs `min` or `max`")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is greater than max {self.max}: no run can pass")
        return self


class NullRate(Record):
    """Share of missing values (null or NaN) in each feature and each prediction column."""

    max: Annotated[float, Field(ge=0.0, le=1.0)]
    columns: dict[ColumnName, Annotated[float, Field(ge=0.0, le=1.0)]] = {}
    """Columns with a bound of their own."""
    action: GateAction = "hold"

    @model_validator(mode="after")
    def _excludes_something(self) -> Self:
        if min((self.max, *self.columns.values())) >= 1.0:
            raise ValueError(
                "max 1 never stops a run: no column can miss more than all values; lower it"
            )
        return self


LEAST_HISTORY = 3
"""Fewer earlier partitions say nothing about what is usual."""


class History(Record):
    """Compared with the partitions before this one, as far as they are published."""

    runs: Annotated[int, Field(ge=1, le=365)] = 14
    """Partitions to look back on, at least three; while fewer are there the gate passes and says so."""
    action: GateAction = "hold"

    @field_validator("runs")
    @classmethod
    def _are_enough(cls, runs: int) -> int:
        if runs < LEAST_HISTORY:
            raise ValueError(
                f"{runs} never stops a run: fewer than {LEAST_HISTORY} partitions say nothing of what is usual"
            )
        return runs


class ScoreShift(History):
    """Distance of the mean prediction from the median of the earlier means, in standard deviations of one."""

    max: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class Rows(History):
    """Rows against the median of the earlier counts."""

    min_ratio: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    max_ratio: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _has_bounds(self) -> Self:
        low, high = self.min_ratio, self.max_ratio
        if low is None and high is None:
            raise ValueError("needs `min_ratio` or `max_ratio`")
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"min_ratio {low:g} is greater than max_ratio {high:g}: no run can pass"
            )
        if low == 0.0 and high is None:
            raise ValueError("min_ratio 0 never stops a run; raise it, or give `max_ratio`")
        return self


class Gates(Record):
    """Looked at before publishing. `fail`: not published. `hold`: not published but complete, to be released with
    `nightscore approve` or dropped with `nightscore reject`. `warn`: published, with a warning. That no row is lost
    is always checked, and always fails."""

    unique_keys: GateAction = "fail"
    """In force with `keys.unique`."""
    finite_predictions: GateAction | Literal["off"] = "warn"
    """A prediction that is missing, NaN or infinite."""
    prediction_range: Range | None = None
    """Of the column `prediction`, or of all `prediction_*` where there are several, as far as they are numbers."""
    probability_range: Range | None = None
    """Of each probability: of how far from 0 and 1 the model is known to stay."""
    null_rate: NullRate | None = None
    score_shift: ScoreShift | None = None
    rows: Rows | None = None

    @field_validator("probability_range")
    @classmethod
    def _is_a_probability(cls, bounds: Range | None) -> Range | None:
        if bounds is None:
            return None
        if bounds.min is not None and bounds.min > 1.0:
            raise ValueError(
                f"min {bounds.min:g} is above 1, where no probability is: no run can pass"
            )
        if bounds.max is not None and bounds.max < 0.0:
            raise ValueError(
                f"max {bounds.max:g} is below 0, where no probability is: no run can pass"
            )
        return bounds


class Workers(Record):
    """Who does the work.

    `dask` and `ray` run the same shards on a cluster that is there already. Its nodes need the driver's versions of
    nightscore and the libraries, the environment variables that `storage_options` name, and stores that all of them
    reach: each node gets the model from the registry by itself, reads its shards and writes their predictions. Only
    small records pass through the driver. The job file travels as it is, with `${ENV_NAME}` unresolved.
    """

    backend: Literal["loky", "dask", "ray"] = "loky"
    """`loky`: processes of joblib, so that a crash in native code costs one shard and not the run. On a cluster each
    shard has a process of its own beside the cluster's, for the same reason."""
    count: Annotated[int, Field(ge=1)] | None = None
    """Shards at once. null: one a core that this process may use, fewer where the partition is small; on a cluster
    one a thread of Dask's workers or a CPU of Ray's nodes. An adaptive cluster grows to what `count` says."""
    address: str | None = None
    """Of the cluster: `tcp://host:8786` of a Dask scheduler; `host:6379` of a Ray cluster from one of its nodes,
    `ray://host:10001` from elsewhere. loky runs on this machine and takes none."""

    @property
    def is_cluster(self) -> bool:
        """Whether other machines than this one may do the work."""
        return self.backend != "loky"

    @field_validator("address")
    @classmethod
    def _has_no_secret(cls, address: str | None) -> str | None:
        return None if address is None else check_uri(address)

    @model_validator(mode="after")
    def _address_fits(self) -> Self:
        if self.is_cluster and self.address is None:
            raise ValueError(f"workers.address: {self.backend} needs the address of a cluster")
        if not self.is_cluster and self.address is not None:
            raise ValueError(
                f"workers.address: {self.backend} runs on this machine and takes no address"
            )
        return self


class Drift(Record):
    """Watching how the columns change."""

    profile: bool = True
    """Count each feature's and prediction's values while scoring, and compare them with the model's baseline and with
    earlier partitions."""
    columns: tuple[ColumnName, ...] = ()
    """Of `pass_through`: profiled too."""
    segments: tuple[ColumnName, ...] = ()
    """Columns (features, keys or passed through) by whose values all columns are profiled a second time, so that a
    finding says which of them drive it. Not the default: it costs about as much again as each of them has values."""
    max_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25
    """Share of a worker's CPU time that profiling may take: beyond it only every n-th row is counted, and the report
    says so. A quarter is far above what it takes beside a model of trees, and near it beside a linear one."""
    gate: Literal["off", "warn", "hold"] = "warn"
    """What a finding of `severity` or worse does: a warning in the record; or the partition waits for a person."""
    severity: Literal["warning", "critical"] = "critical"


class ScoringJob(Record):
    """One job file, validated once. Every default has its reason beside it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    """Letters, digits, `_`, `-` and `.`: it names folders, tags and artifacts."""
    model: str
    """`models:/<name>/<version>` or `models:/<name>@<alias>`; an alias is resolved once a run."""
    registry: str | None = Field(default=None, repr=False)
    """MLflow tracking or registry URI; null: `MLFLOW_TRACKING_URI`, else MLflow's own `sqlite:///mlflow.db`."""
    input: Input
    output: Output
    keys: Annotated[
        Keys, BeforeValidator(_as_keys, json_schema_input_type=Keys | list[ColumnName])
    ] = Keys()
    """A list of columns, or `{columns: [...], unique: true}`; none: `source_file` and `source_row` travel instead."""
    pass_through: tuple[ColumnName, ...] = ()
    """Further input columns to keep."""
    features: tuple[ColumnName, ...] = ()
    """The model's columns in order, only for a model that was trained without names; none: the columns that are
    neither keys nor passed through, in the order of the file."""
    predict: Literal["auto", "predict", "predict_proba", "decision_function", "raw"] = "auto"
    """`auto`: the prediction, and probabilities where the model has them."""
    engine: Literal["auto", "library"] = "auto"
    """`auto`: a compiled predictor where there is one for the model. On a host's first run with a model version, and
    with other versions of the libraries, each shard's first rows are checked against the library's own, which scores
    everything from then on if there is a difference. `library`: the library's own, always. Trees give the same bits
    either way, so that a change of it scores nothing again."""
    allow_pickle: bool = False
    """Load a model that runs code when it is loaded (a pickle) though its version is not pinned. A version that is
    pinned (`nightscore pin`) needs no such word: somebody has vouched for exactly these bytes."""
    allow_code: tuple[str, ...] = ()
    """Modules that the model brings in its `code` folder, and loaders that nightscore does not know, by name."""
    policy: Policy = Policy()
    limits: Limits = Limits()
    gates: Gates = Gates()
    drift: Drift = Drift()
    workers: Workers = Workers()

    @field_validator("model")
    @classmethod
    def _is_pinned(cls, uri: str) -> str:
        if not MODEL_URI.fullmatch(uri):
            raise ValueError(
                f"expected models:/<name>/<version> or models:/<name>@<alias>, found {uri!r}"
            )
        return uri

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        problems = [*self._places(), *self._columns(), *self._gates_without_effect()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _places(self) -> Iterator[str]:
        source, target = (_place(uri) + "/" for uri in (self.input.uri, self.output.uri))
        if source.startswith(target) or target.startswith(source):
            yield f"output.uri and input.uri must not contain each other: {target} and {source}"

    def _columns(self) -> Iterator[str]:
        kept = [*self.keys.columns, *self.pass_through]
        if twice := sorted({name for name in kept if kept.count(name) > 1}):
            yield f"keys and pass_through name a column twice: {', '.join(twice)}"
        own = ("probability_", "prediction_")
        if taken := sorted(
            {name for name in kept if name in OUTPUT_COLUMNS or name.startswith(own)}
        ):
            yield f"keys and pass_through use names of the output's own columns: {', '.join(taken)}"
        if len(set(self.features)) < len(self.features):
            yield "features names a column twice"
        if strange := sorted(set(self.drift.columns) - set(self.pass_through)):
            yield f"drift.columns are not in pass_through: {', '.join(strange)}"
        if self.keys.unique and not self.keys.columns:
            yield "keys.unique needs keys.columns"
        elif self.keys.unique and set(self.keys.columns) == {self.input.partition_key}:
            yield f"keys.unique: {self.input.partition_key} is the same in all rows of a partition: no run can pass"

    def _gates_without_effect(self) -> Iterator[str]:
        """Gates that other keys keep from ever being looked at."""
        if self.gates.unique_keys != "fail" and not self.keys.unique:
            yield (
                f"gates.unique_keys: {self.gates.unique_keys} never applies without keys.unique; "
                "write keys: {columns: [...], unique: true}, or leave the gate out"
            )
        if self.drift.gate == "hold" and not self.drift.profile:
            yield "drift.gate: hold never applies with drift.profile: false; remove one of them"


def check_uri(uri: str) -> str:
    """The same URI.

    Raises:
        ValueError: It is empty, holds a NUL or carries credentials (they would end up in logs and records).
    """
    if not uri.strip() or "\x00" in uri:
        raise ValueError("expected a URL or a path, found an empty one")
    if "://" in uri and _has_credentials(uri):
        raise ValueError(
            "carries credentials; put them into storage_options as ${ENV_NAME} instead"
        )
    return uri


def _place(uri: str) -> str:
    """One spelling for one place, as far as the spelling tells: links are looked at when the input is listed."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return posixpath.abspath(uri).rstrip("/")
    if scheme == "file":
        return posixpath.abspath(unquote(urlsplit(uri).path)).rstrip("/")
    return f"{'s3' if scheme == 's3a' else scheme}://{rest}".rstrip("/")


def _has_credentials(uri: str) -> bool:
    """Whether there is a user before the host, or a signature behind the path (of a link that a store has signed).

    Azure writes `container@account.dfs.core.windows.net`, which is a place.
    """
    split = urlsplit(uri)
    user, at, host = split.netloc.rpartition("@")
    is_account = split.scheme in AZURE_SCHEMES and re.search(r"\.(dfs|blob)\.", host) is not None
    is_container = is_account and re.fullmatch(r"\$?[A-Za-z0-9-]+", user) is not None
    return (bool(at) and not is_container) or SIGNATURE.search(uri) is not None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the job file, for completion and checks in editors."""
    schema = ScoringJob.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))  # noqa: T201
