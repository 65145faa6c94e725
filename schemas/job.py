"""A job: what to score, with which model, under which limits."""

import json
import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator, model_validator

from schemas.record import Record

ColumnName = Annotated[str, Field(min_length=1)]
StorageOptions = Annotated[dict[str, JsonValue], Field(default_factory=dict, repr=False)]

MODEL_URI = re.compile(r"models:/(?P<name>[^/@:]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")

OUTPUT_COLUMNS = ("source_file", "source_row", "prediction", "probability", "model_version", "run_id")
"""Names that the output may use for itself; keys and pass-through columns must not."""


class Input(Record):
    """Where the partitions are."""

    uri: str
    """Any fsspec URL or a path; a partition is the folder `<uri>/<partition_key>=<value>/`."""
    partition_key: ColumnName = "ds"
    """`ds` is what Hive and Airflow call the date of a partition."""
    partition_format: str = "%Y-%m-%d"
    """How a date is written as partition value (strftime); used where dates are counted, such as backfills."""
    storage_options: StorageOptions
    """fsspec's or object_store's names; values may be `${ENV_NAME}`. Never printed, never stored."""

    @field_validator("uri")
    @classmethod
    def _has_no_secret(cls, uri: str) -> str:
        return check_uri(uri)

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
    """Bound of the whole run, all workers together; null: batches sized by default and one worker a core."""


class Workers(Record):
    """Who does the work."""

    backend: Literal["loky"] = "loky"
    """`loky`: processes of joblib, so that a crash in native code costs one shard and not the run."""
    count: Annotated[int, Field(ge=1)] | None = None
    """null: one a core that this process may use, fewer where the partition is small."""
    address: str | None = None
    """Address of a cluster; loky runs on this machine and takes none."""

    @model_validator(mode="after")
    def _address_fits(self) -> Self:
        if self.address is not None:
            raise ValueError(f"workers.address: {self.backend} runs on this machine and takes no address")
        return self


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
    keys: tuple[ColumnName, ...] = ()
    """Columns that travel with every prediction; none: `source_file` and `source_row` do."""
    pass_through: tuple[ColumnName, ...] = ()
    """Further input columns to keep."""
    features: tuple[ColumnName, ...] = ()
    """The model's columns in order, only for a model that was trained without names; none: the columns that are
    neither keys nor passed through, in the order of the file."""
    predict: Literal["auto", "predict", "predict_proba", "decision_function", "raw"] = "auto"
    """`auto`: the prediction, and probabilities where the model has them."""
    allow_pickle: bool = False
    """Load a model that runs code when it is loaded (a pickle) though its version is not pinned. A version that is
    pinned (`nightscore pin`) needs no such word: somebody has vouched for exactly these bytes."""
    allow_code: tuple[str, ...] = ()
    """Modules that the model brings in its `code` folder, and loaders that nightscore does not know, by name."""
    limits: Limits = Limits()
    workers: Workers = Workers()

    @field_validator("model")
    @classmethod
    def _is_pinned(cls, uri: str) -> str:
        if not MODEL_URI.fullmatch(uri):
            raise ValueError(f"expected models:/<name>/<version> or models:/<name>@<alias>, found {uri!r}")
        return uri

    @model_validator(mode="after")
    def _output_is_apart(self) -> Self:
        source, target = (uri.removeprefix("file://").rstrip("/") + "/" for uri in (self.input.uri, self.output.uri))
        if source.startswith(target) or target.startswith(source):
            raise ValueError(f"output.uri and input.uri must not contain each other: {target} and {source}")
        return self

    @model_validator(mode="after")
    def _columns_are_distinct(self) -> Self:
        kept = [*self.keys, *self.pass_through]
        twice = sorted({name for name in kept if kept.count(name) > 1})
        if twice:
            raise ValueError(f"keys and pass_through name a column twice: {', '.join(twice)}")
        taken = sorted({n for n in kept if n in OUTPUT_COLUMNS or n.startswith(("probability_", "prediction_"))})
        if taken:
            raise ValueError(f"keys and pass_through use names of the output's own columns: {', '.join(taken)}")
        if len(set(self.features)) < len(self.features):
            raise ValueError("features names a column twice")
        return self


def check_uri(uri: str) -> str:
    """The same URI.

    Raises:
        ValueError: It is empty, holds a NUL or carries credentials (they would end up in logs and records).
    """
    if not uri.strip() or "\x00" in uri:
        raise ValueError("expected a URL or a path, found an empty one")
    if "://" in uri and "@" in urlsplit(uri).netloc:
        raise ValueError("carries credentials; put them into storage_options as ${ENV_NAME} instead")
    return uri


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the job file, for completion and checks in editors."""
    schema = ScoringJob.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))  # noqa: T201
