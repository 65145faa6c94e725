"""A job: what to score, with which model, under which limits."""

import ast
import inspect
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    Strict,
    field_validator,
    model_validator,
)

from nightscore.schemas.base_record import Record
from nightscore.schemas.decision import Decision
from nightscore.schemas.estimate import Estimate
from nightscore.schemas.field_types import ColumnNames, Location, StorageOptions
from nightscore.schemas.gates import ColumnName, Gates, Percentage, Share
from nightscore.schemas.labels import Labels, label_problems
from nightscore.schemas.model_uri import MODEL_URI, MODEL_URI_FORMS, alias_of
from nightscore.schemas.problem import Problem, ProblemsError
from nightscore.schemas.release import Release, canary_problems, challenger_problems
from nightscore.schemas.short_forms import (
    SIZE,
    Accepts,
    read_keys,
    read_names,
    read_number,
    read_off,
    read_percentage,
    read_section,
    read_size,
    read_whole,
)
from nightscore.schemas.uri import check_uri, contain_each_other

# Numbers and flags are strict: `yes` is no number, and `1` and "yes" are no flags.
Flag = Annotated[bool, Strict()]
ValuePolicy = Literal["auto", "error", "quarantine", "pass"]
DatePattern = Annotated[str, Accepts("a strftime pattern such as '%Y-%m-%d'")]
FilePattern = Annotated[
    str, Field(min_length=1), Accepts("a pattern of file names, such as '*.parquet'")
]
ClusterAddress = Annotated[str, Accepts("the address of a cluster, such as tcp://host:8786")]

HOST_AND_PORT = re.compile(r"[\w.-]+:\d+/?")
"""A server without its scheme."""

LEAST_MEMORY_BYTES = 64 << 20
Bytes = Annotated[int, Strict(), Field(ge=LEAST_MEMORY_BYTES)]
Memory = Annotated[
    Bytes,
    BeforeValidator(read_size, json_schema_input_type=Bytes | Annotated[str, Field(pattern=SIZE)]),
    Accepts("at least 64MiB, as a size such as 512MB or 2GiB, or as a number of bytes"),
]

OUTPUT_COLUMNS = (
    "source_file",
    "source_row",
    "prediction",
    "probability",
    "model_version",
    "run_id",
)
"""Names that the output uses itself. Keys and pass-through columns must not have them."""
OUTPUT_PREFIXES = ("probability_", "prediction_")


class Input(Record):
    """Where the partitions are."""

    uri: Location
    """A path or any fsspec URL. A partition is the folder `<uri>/<partition_key>=<value>/`. `~` and
    `${ENV_NAME}` are replaced when the job file is read; `${NIGHTSCORE_JOB_FOLDER}` is the folder
    of the file itself."""
    partition_key: ColumnName = "ds"
    """Name of the partition column. `ds` is what Hive and Airflow call the date of a partition."""
    partition_format: DatePattern = "%Y-%m-%d"
    """How a date is written as a partition value (strftime). It is used to list the dates of a
    range and to sort partitions. Values that are not such dates sort as numbers, then as texts."""
    files: FilePattern | None = None
    """Pattern of the file names to read, such as `*.parquet` (`*`, `?`, `[...]`). The record counts
    the files that it leaves out. null: all files are read, so that none is missed; a file that is
    not Parquet then stops the run. Names that begin with `_` or `.`, checksums (`*.crc`) and empty
    markers are never read."""
    storage_options: StorageOptions
    """Options of the store, under fsspec's or object_store's names. A value may be `${ENV_NAME}`.
    They are never printed or stored."""

    @field_validator("uri")
    @classmethod
    def _has_no_secret(cls, uri: str) -> str:
        return check_uri(uri)

    @field_validator("files")
    @classmethod
    def _is_a_name_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None and "/" in pattern:
            raise ValueError(
                f"expected a pattern of file names, without folders, found {pattern!r}"
            )
        if pattern is not None and pattern.startswith(("_", ".")):
            raise ValueError(f"names that begin with _ or . are never read, found {pattern!r}")
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
            raise ValueError("expected a strftime pattern such as '%Y-%m-%d'; found no %")
        return pattern


OutputFormatName = Literal["delta", "parquet"]
OUTPUT_FORMATS: tuple[str, ...] = get_args(OutputFormatName)
"""Each is a module of `nightscore.outputs.formats`."""


class Output(Record):
    """Where the predictions go."""

    uri: Location
    """The Delta table, or the root of the Parquet partitions. Run records are stored beside it, in
    `<uri>.nightscore`. `~`, `${ENV_NAME}` and `${NIGHTSCORE_JOB_FOLDER}` are replaced as in the
    input."""
    format: OutputFormatName = "delta"
    """`delta`: a table with history that every Delta reader opens. `parquet`: one object per
    partition, for readers that only glob. Delta is the default: its readers never see a partition
    in between."""
    storage_options: StorageOptions
    """Options of the store, as for the input."""

    @field_validator("uri")
    @classmethod
    def _is_below_a_root(cls, uri: str) -> str:
        uri = check_uri(uri).rstrip("/")
        split = urlsplit(uri)

        if "://" in uri and split.scheme != "file" and not split.path.strip("/"):
            raise ValueError("needs a path below the bucket, since run records are kept beside it")
        return uri


class Limits(Record):
    """How much may go wrong, and how much memory a run may use."""

    max_quarantined_rows: Annotated[int, Strict(), Field(ge=0), BeforeValidator(read_whole)] = 0
    """Rows that may be quarantined. 0: every row must be scored, unless you decide otherwise."""
    max_quarantined_share: Share = 0.0
    """Share of the partition's rows that may be quarantined. If you set both limits, both must
    hold. A limit that is 0 beside one that is not has no effect."""
    memory_bytes: Memory | None = None
    """Bound of the whole run, all workers together: a size such as 512MB or 2GiB, or bytes. null:
    batches have their default size, and there is one worker for each core. On a cluster, the bound
    of each worker process: the cluster decides how many of them share a node, and its own bounds,
    such as Dask's `--memory-limit`, do not see these processes."""
    shard_minutes: Annotated[float, Strict(), Field(gt=0.0), BeforeValidator(read_number)] = 60.0
    """Time limit for one shard. A worker that takes longer hangs, say on a store that neither
    answers nor fails. It is stopped, and its shard is scored again."""

    @property
    def shard_s(self) -> float:
        """The time limit for one shard, in seconds."""
        return 60.0 * self.shard_minutes


class Keys(Record):
    """Columns that identify a row and travel with every prediction.

    A plain name, or a list of names, means these columns, not checked to be unique.
    """

    columns: ColumnNames = ()
    """Names of the columns."""
    unique: Flag = False
    """No two published rows of a partition may have the same keys. `gates.unique_keys` decides what
    happens if they have."""


class Policy(Record):
    """What happens to rows with values that the model may reject, in any feature.

    `auto`: the model decides. It is given the values; rows that it rejects are quarantined (trees
    take missing values, linear models do not). `pass`: the values are given to the model; rows that
    it rejects are quarantined all the same, since they have no prediction. `quarantine`: the rows
    are quarantined even if the model would take them. `error`: one such row stops publication; all
    of them are counted and stored.
    """

    missing: ValuePolicy = "auto"
    """null and NaN."""
    infinite: ValuePolicy = "auto"
    """Positive and negative infinity."""
    overflow: ValuePolicy = "auto"
    """Finite values beyond float32, the type that scikit-learn's trees compute with."""
    cast: ValuePolicy = "auto"
    """Values that would change when they are cast to the model's type, and text that is not UTF-8.
    `auto` quarantines them. With `pass` the model is given a missing value instead. In keys and
    pass-through columns they are always quarantined."""
    unseen_category: ValuePolicy = "auto"
    """Values that the model's encoders were not fitted on."""


class Workers(Record):
    """Which processes score the shards.

    `dask` and `ray` use an existing cluster. Its nodes need the driver's versions of nightscore and
    the libraries, the environment variables that `storage_options` name, and stores that all of
    them reach. Each node gets the model from the registry, reads its shards and writes their
    predictions; only small records pass through the driver. The job travels with its URIs as the
    driver has expanded them, and with `${ENV_NAME}` in `storage_options` unresolved.

    A plain number is the `count`.
    """

    backend: Literal["loky", "dask", "ray"] = "loky"
    """`loky`: joblib's worker processes on this machine. On a cluster each shard has a process of
    its own beside the cluster's. Either way a crash in native code costs one shard, not the run."""
    count: Annotated[int, Strict(), Field(ge=1), BeforeValidator(read_whole)] | None = None
    """Shards that are scored at once. null: one for each core that this process may use, fewer for
    a small partition; on a cluster, one for each thread of Dask's workers or each CPU of Ray's
    nodes. An adaptive cluster grows to this count."""
    address: ClusterAddress | None = None
    """Address of the cluster: `tcp://host:8786` of a Dask scheduler; `host:6379` of a Ray cluster
    from one of its nodes, `ray://host:10001` from elsewhere. loky runs on this machine and takes
    none."""

    @property
    def is_cluster(self) -> bool:
        """Whether other machines may do the work."""
        return self.backend != "loky"

    @field_validator("address")
    @classmethod
    def _has_no_secret(cls, address: str | None) -> str | None:
        return None if address is None else check_uri(address)

    @model_validator(mode="after")
    def _address_fits(self) -> Self:
        problem = ""
        if self.is_cluster and self.address is None:
            problem = f"{self.backend} needs the address of a cluster, such as tcp://host:8786"
        if not self.is_cluster and self.address is not None:
            problem = f"{self.backend} runs on this machine and takes no address"

        if problem:
            raise ProblemsError([Problem(("address",), problem, (("backend",),))])
        return self


class Drift(Record):
    """How the columns are monitored for change."""

    profile: Flag = True
    """Profile each feature and prediction while scoring. The profile is compared with the model's
    baseline and with earlier partitions."""
    columns: ColumnNames = ()
    """Columns of `pass_through` to profile too."""
    segments: ColumnNames = ()
    """Columns (features, keys or pass-through) by whose values all columns are profiled once more,
    so that a finding names the segments that drive it. None by default: each costs about as much as
    the first profile."""
    max_share: Annotated[
        float,
        Strict(),
        Field(gt=0.0, le=1.0),
        BeforeValidator(
            read_percentage,
            json_schema_input_type=Annotated[float, Field(gt=0, le=1)] | Percentage,
        ),
        Accepts("a share above 0 and up to 1, such as 0.25, or 25%"),
    ] = 0.25
    """Share of a worker's CPU time that profiling may take. Beyond it only every n-th row is
    counted, and the report says so. A quarter is far more than profiling takes beside a model of
    trees, and about what it takes beside a linear one."""
    gate: Annotated[Literal["off", "warn", "hold"], BeforeValidator(read_off)] = "warn"
    """What a finding of `severity` or worse does. `warn`: the record has a warning. `hold`: the
    partition waits for `nightscore approve` or `nightscore reject`."""
    severity: Literal["warning", "critical"] = "critical"
    """The least severity that `gate` acts on."""


class ScoringJob(Record):
    """One job file. It is validated once, and unknown keys are refused."""

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100),
        Accepts(
            "letters, digits, `_`, `-` and `.`, at most 100 of them, beginning with a letter or "
            "a digit"
        ),
    ]
    """Letters, digits, `_`, `-` and `.`. Folders, tags and artifacts are named after the job."""
    model: Annotated[str, Accepts(MODEL_URI_FORMS)]
    """`models:/<name>/<version>` or `models:/<name>@<alias>` of a registered model, or
    `models:/m-<id>`, which `log_model` returns as `model_uri`. An alias is resolved once per
    run."""
    registry: Location | None = Field(default=None, repr=False)
    """MLflow tracking or registry URI. null: `MLFLOW_TRACKING_URI`, or else MLflow's default,
    `sqlite:///mlflow.db`. `~`, `${ENV_NAME}` and `${NIGHTSCORE_JOB_FOLDER}` are replaced as in the
    input."""
    input: Annotated[
        Input,
        BeforeValidator(read_section("uri"), json_schema_input_type=Input | str),
        Accepts("a path, a URL, or a mapping with the key uri"),
    ]
    """Where the partitions are: a path or URL, or a mapping with more settings."""
    output: Annotated[
        Output,
        BeforeValidator(read_section("uri"), json_schema_input_type=Output | str),
        Accepts("a path, a URL, or a mapping with the key uri"),
    ]
    """Where the predictions go: a path or URL, or a mapping with more settings."""
    renamed_from: Annotated[
        tuple[str, ...],
        BeforeValidator(read_names, json_schema_input_type=str | list[str]),
        Accepts("a list of job names, or one name"),
    ] = ()
    """Names that this job had before. What they published is this job's own: it may replace it."""
    keys: Annotated[
        Keys,
        BeforeValidator(
            read_keys,
            json_schema_input_type=Keys | list[ColumnName] | ColumnName,
        ),
        Accepts("the name of a column, a list of names, or a mapping with the key columns"),
    ] = Keys()
    """Columns that travel with every prediction: a name, a list of names, or
    `{columns: [...], unique: true}`. Without keys, `source_file` and `source_row` travel
    instead."""
    pass_through: ColumnNames = ()
    """Further input columns to write beside the predictions."""
    features: ColumnNames = ()
    """The model's columns in order, for a model that was trained without names. Empty: all columns
    that are neither keys nor passed through, in the order of the file."""
    predict: Literal["auto", "predict", "predict_proba", "decision_function", "raw"] = "auto"
    """The method to call. `auto`: the prediction, and probabilities if the model has them."""
    engine: Literal["auto", "library"] = "auto"
    """`auto`: use the compiled predictor if the model has one. On a host's first run with a model
    version, and after a change of the libraries, the first rows of each shard are checked against
    the model's own library; if they differ, the library scores everything. `library`: always use
    the library. Trees give the same bits either way, so changing this scores nothing again."""
    repeated_rows: Literal["auto", "each"] = "auto"
    """How rows are predicted that are equal in all features, where the model's own library
    predicts. `auto`: once in a batch, if that pays: the model is slow, and at least half of the
    rows repeat. This is measured on the first rows, which are also compared with predictions of
    each row. Models that run code of their own predict each row. `each`: predict each row by
    itself, always. The predictions are the same, so changing this scores nothing again."""
    allow_pickle: Flag = False
    """Load a model that runs code when it is loaded (a pickle) although its version is not pinned.
    A pinned version (`nightscore pin`) does not need this: somebody has vouched for its bytes."""
    allow_code: Annotated[
        tuple[str, ...],
        BeforeValidator(read_names, json_schema_input_type=str | list[str]),
        Accepts("a list of module names, or one name"),
    ] = ()
    """Names of modules that the model brings in its `code` folder, and of loaders that nightscore
    does not know, that may be run."""
    policy: Policy = Policy()
    """What happens to values that the model may reject."""
    limits: Limits = Limits()
    """How much may go wrong, and how much memory a run may use."""
    gates: Gates = Gates()
    """Checks before publishing."""
    drift: Drift = Drift()
    """How the columns are monitored for change."""
    decision: Decision = Decision()
    """How you decide by the probability of a binary model, and what outcomes are worth. It changes
    no prediction: performance is estimated and measured for it."""
    estimate: Estimate = Estimate()
    """How performance is estimated before labels come. It changes no prediction."""
    labels: Labels | None = None
    """What came true, once it is known: `nightscore evaluate` compares the predictions with it."""
    release: Release | None = None
    """How new versions of the model go live, and where that is logged."""
    workers: Annotated[
        Workers,
        BeforeValidator(
            read_section("count", (int,)),
            json_schema_input_type=Workers | Annotated[int, Field(ge=1)],
        ),
        Accepts("a number of workers, or a mapping with the keys backend, count and address"),
    ] = Workers()
    """Which processes score the shards: their number, or a mapping with more settings."""

    _given_as: str = PrivateAttr("")
    _champion: "ScoringJob | None" = PrivateAttr(None)
    _original_model: str | None = PrivateAttr(None)

    @property
    def given_as(self) -> str:
        """What a command line calls the job: the name, path or URL under which it was loaded.

        The job's name, if it was not loaded from a file.
        """
        return self._given_as or self.name

    def remember(self, given_as: str) -> Self:
        """Remember under which name, path or URL the job was loaded; returns the job itself."""
        self._given_as = given_as
        return self

    @property
    def champion(self) -> "ScoringJob | None":
        """The job whose challenger this one scores with. None: it is a job of its own."""
        return self._champion

    def be_challenger_of(self, champion: "ScoringJob", label: str) -> Self:
        """Become the job of a challenger; returns the job itself.

        Args:
            champion: The job that names the challenger.
            label: What it calls the challenger.
        """
        self._champion = champion
        return self.remember(f"{champion.given_as}@{label}")

    @property
    def original_model(self) -> str | None:
        """The model that the job names, if this is a copy for a backfill with one exact version.

        None: it is no copy. Runs of a copy reproduce the arms that a canary had on their dates.
        """
        return self._original_model

    def with_version(self, uri: str) -> Self:
        """A copy that scores with one exact version, as a backfill does."""
        copy = self.model_copy(update={"model": uri})
        copy._original_model = self._original_model or self.model
        return copy

    def command(self, verb: str, *arguments: str) -> str:
        """The command line that does something with this job, to be pasted into a shell."""
        return shlex.join(["nightscore", verb, self.given_as, *arguments])

    def settings_without_effect(self) -> list[str]:
        """Settings that another one switches off, for plans and records."""
        drift, usual = self.drift, Drift()
        notes: list[str] = []

        if not drift.profile:
            for name in ("columns", "segments", "max_share", "severity"):
                if getattr(drift, name) != getattr(usual, name):
                    notes.append(f"drift.{name} has no effect with drift.profile: false")
        elif drift.gate == "off" and drift.severity != usual.severity:
            notes.append("drift.severity has no effect with drift.gate: off")

        release = self.release
        if release is not None and not release.challenger and alias_of(self.model) is None:
            notes.append(f"release has no effect: {self.model} names no alias that could move")

        if self.name in self.renamed_from:
            notes.append(f"renamed_from: {self.name} is the job's own name, and has no effect")

        return notes

    def __eq__(self, other: object) -> bool:
        """Whether both jobs do the same, wherever they were loaded from."""
        return isinstance(other, ScoringJob) and self.__dict__ == other.__dict__

    @field_validator("model")
    @classmethod
    def _is_a_model_uri(cls, uri: str) -> str:
        if not MODEL_URI.fullmatch(uri):
            raise ValueError(f"expected {MODEL_URI_FORMS}")
        return uri

    @field_validator("registry")
    @classmethod
    def _is_a_registry_uri(cls, uri: str | None) -> str | None:
        if uri is not None and HOST_AND_PORT.fullmatch(uri):
            raise ValueError(f"expected a URL or a path; did you mean http://{uri}?")
        return uri

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        problems = [
            *self._place_problems(),
            *self._column_problems(),
            *self._key_problems(),
            *self._gates_without_effect(),
            *self._sample_problems(),
        ]
        if self.labels is not None:
            problems += label_problems(self.labels, self.keys.columns, self.output.uri)
        if self.release is not None:
            problems += challenger_problems(self.release, self.model)
            problems += canary_problems(self.release, self.keys.columns, self.pass_through)
        if problems:
            raise ProblemsError(problems)
        return self

    def _place_problems(self) -> Iterator[Problem]:
        source, target = self.input.uri, self.output.uri
        if contain_each_other(source, target):
            yield Problem(
                ("output", "uri"),
                f"input.uri and output.uri must not contain each other: {source} and {target}",
                (("input", "uri"),),
            )

        log = self.release.log if self.release else None
        for section, uri in (("input", source), ("output", target)):
            if log is not None and contain_each_other(log, uri):
                yield Problem(
                    ("release", "log"),
                    f"release.log and {section}.uri must not contain each other: {log} and {uri}",
                    ((section, "uri"),),
                )

    def _column_problems(self) -> Iterator[Problem]:
        carried = Counter([*self.keys.columns, *self.pass_through])
        place = "pass_through" if self.pass_through else "keys"
        both = (("keys",), ("pass_through",))

        duplicates = sorted(name for name, n_times in carried.items() if n_times > 1)
        if duplicates:
            yield Problem(
                (place,),
                f"keys and pass_through name a column twice: {', '.join(duplicates)}",
                both,
            )

        taken = {name for name in carried if _is_output_column(name)}
        if taken:
            place = "keys" if taken & set(self.keys.columns) else "pass_through"
            names = ", ".join(sorted(taken))
            yield Problem(
                (place,),
                f"keys and pass_through use names of the output's own columns: {names}",
                both,
            )

        counts = Counter(self.features)
        repeated = sorted(name for name, n_times in counts.items() if n_times > 1)
        if repeated:
            yield Problem(("features",), f"features names a column twice: {', '.join(repeated)}")

        unknown = sorted(set(self.drift.columns) - set(self.pass_through))
        if unknown:
            yield Problem(
                ("drift", "columns"),
                f"expected columns of pass_through, found {', '.join(unknown)}: "
                "name them in pass_through too",
                (("pass_through",),),
            )

    def _sample_problems(self) -> Iterator[Problem]:
        if self.estimate.sample_rows and not self.keys.columns:
            yield Problem(
                ("estimate", "sample_rows"),
                "needs keys.columns: rows are chosen by a hash of their keys, so that a sample "
                "does not depend on how the partition was split",
                (("keys", "columns"),),
            )

    def _key_problems(self) -> Iterator[Problem]:
        path, columns = ("keys", "unique"), ("keys", "columns")
        if self.keys.unique and not self.keys.columns:
            text = "needs keys.columns; write keys: {columns: [...], unique: true}"
            yield Problem(path, text, (columns,))
        elif self.keys.unique and set(self.keys.columns) == {self.input.partition_key}:
            yield Problem(
                path,
                f"{self.input.partition_key} is the same in all rows of a partition: "
                "no run can pass",
                (columns, ("input", "partition_key")),
            )

    def _gates_without_effect(self) -> Iterator[Problem]:
        """Gates that other keys keep from ever being checked."""
        if self.gates.unique_keys != "fail" and not self.keys.unique:
            yield Problem(
                ("gates", "unique_keys"),
                f"{self.gates.unique_keys} never applies without keys.unique; "
                "write keys: {columns: [...], unique: true}, or leave the gate out",
                (("keys", "unique"),),
            )
        yield from self._estimate_gate_without_effect()

        if self.drift.gate == "hold" and not self.drift.profile:
            yield Problem(
                ("drift", "gate"),
                "hold never applies with drift.profile: false; remove one of them",
                (("drift", "profile"),),
            )

    def _estimate_gate_without_effect(self) -> Iterator[Problem]:
        gate = self.gates.estimated
        if gate is None:
            return

        path = ("gates", "estimated")
        if not self.drift.profile:
            text = "never applies with drift.profile: false; remove one of them"
            yield Problem(path, text, (("drift", "profile"),))
        if gate.metric == "value" and self.decision.values is None:
            text = "never applies to the metric value without decision.values; write them"
            yield Problem(path, text, (("decision", "values"),))


def _is_output_column(name: str) -> bool:
    return name in OUTPUT_COLUMNS or name.startswith(OUTPUT_PREFIXES)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the job file, for completion, help and checks in editors."""
    schema = ScoringJob.model_json_schema()
    sections = {**schema["$defs"], "ScoringJob": schema}

    for name, descriptions in _field_descriptions().items():
        properties = sections.get(name, {}).get("properties", {})
        for field, description in descriptions.items():
            if field in properties:
                properties[field]["description"] = description
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _field_descriptions() -> dict[str, dict[str, str]]:
    """Class to field to the text below the field, in this module and those of its sections.

    Pydantic would collect these texts whenever the module is imported, by reading its source.
    """
    found: dict[str, dict[str, str]] = {}
    for record in (ScoringJob, Gates, Decision, Labels, Release):
        module = ast.parse(Path(inspect.getfile(record)).read_text(encoding="utf-8"))
        classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
        found |= {node.name: _descriptions_in(node) for node in classes}
    return found


def _descriptions_in(node: ast.ClassDef) -> dict[str, str]:
    descriptions = {}
    for statement, below in zip(node.body, node.body[1:], strict=False):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            text = inspect.cleandoc(str(below.value.value))
            descriptions[statement.target.id] = text.replace("\n", " ")
    return descriptions


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))  # noqa: T201
