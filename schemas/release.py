"""How new versions of a job's model go live."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, Strict, field_validator

from nightscore.schemas.base_record import Record
from nightscore.schemas.field_types import ColumnNames, Location
from nightscore.schemas.flag import ReleaseFlag
from nightscore.schemas.gates import Percentage, PositiveNumber
from nightscore.schemas.model_uri import LABELLED_FORMS, MODEL_URI, label_of
from nightscore.schemas.problem import Problem
from nightscore.schemas.short_forms import Accepts, read_names, read_percentage
from nightscore.schemas.uri import check_uri

ModelUri = Annotated[str, Accepts(LABELLED_FORMS)]
CanaryShare = Annotated[
    float,
    Strict(),
    Field(gt=0.0, le=1.0),
    BeforeValidator(
        read_percentage, json_schema_input_type=Annotated[float, Field(gt=0, le=1)] | Percentage
    ),
    Accepts("a share above 0 and up to 1, such as 0.05, or 5%"),
]
Salt = Annotated[str, Field(min_length=1, max_length=100), Accepts("a text, such as 2026-11")]


class Release(Record):
    """How new versions of the job's model go live.

    With this section, each run notes in the release log when somebody has moved the alias by other
    means. Without it, runs do so from the first `nightscore promote` on.
    """

    log: Location | None = None
    """Folder of the release log. Name it where several jobs share one model, so that they share one
    log. It is read and written with `output.storage_options`. Each model and alias has a folder of
    its own in it. null: `<output.uri>.nightscore/releases`."""

    approval: Literal["none", "required"] = "none"
    """`required`: `promote` only proposes a version. Somebody else makes it live by `nightscore
    approve JOB --release VERSION`, or drops the proposal by `reject`. Write it into each job that
    uses the alias. none: most teams review a promotion before the command is given."""

    @field_validator("log")
    @classmethod
    def _has_no_secret(cls, log: str | None) -> str | None:
        return None if log is None else check_uri(log).rstrip("/")

    challenger: Annotated[
        tuple[ModelUri, ...],
        BeforeValidator(read_names, json_schema_input_type=ModelUri | list[ModelUri]),
        Accepts(f"{LABELLED_FORMS}, or a list of them"),
    ] = ()
    """Versions that score beside the job's model, such as `models:/flight_delay@challenger`: one,
    or a list. Each is called by its alias, or else by its version: `JOB@challenger` names it in
    commands."""
    mode: Literal["shadow", "canary"] = "shadow"
    """`shadow`: each challenger scores all rows in the same pass. Its predictions go to a table of
    its own, `<output.uri>.challengers/<alias or version>`, and readers of the job's output see
    nothing of them. `canary`: the one challenger scores a share of the keys, and readers see its
    predictions of these; `model_version` says which."""
    share: CanaryShare | None = None
    """Of the keys that the challenger of a canary scores. A greater share has all keys of a smaller
    one."""
    by: ColumnNames = ()
    """Columns whose values decide which model scores a row: keys, or columns of `pass_through`.
    The same values are always scored by the same model. Empty: the first key."""
    salt: Salt | None = None
    """Any text, such as 2026-11. Another salt assigns the keys anew."""
    hash: Literal["xxh64", "flagd"] = "xxh64"
    """How keys are assigned: by XXH64, or as flagd's `fractional` does, with `salt` for the flag's
    key."""
    on_critical: Literal["stop", "none"] = "stop"
    """`stop`: a critical finding in the challenger's own run of a canary, by its drift or by
    `gates.estimated`, ends the canary from the next run on. An input column that is critical in the
    run of the job's own model, too, does not. The release log has the end, and only a promotion or
    another salt starts it again. `none`: it goes on."""
    flag: ReleaseFlag | None = None
    """A feature flag that says the share of a canary, and ends it at once. It is asked once a run,
    and never for dates before the newest entry of the release log. If it does not answer, the last
    share that the log has is kept."""
    max_overhead: PositiveNumber = 1.0
    """A challenger that takes longer to predict than this many times the job's own model is ended.
    The job's predictions are published as always."""

    backfill_newest: Annotated[int, Strict(), Field(ge=0, le=3_660)] = 0
    """Of the newest partitions, how many are scored again at once, where another version has
    published them, when a webhook of MLflow says that the job's alias has moved. 0: the new version
    scores what comes from then on."""

    @property
    def is_canary(self) -> bool:
        """Whether readers see predictions of the challenger."""
        return self.mode == "canary" and bool(self.challenger)

    @property
    def labels(self) -> dict[str, str]:
        """Each challenger's URI by its label."""
        return {label_of(uri): uri for uri in self.challenger}

    @field_validator("challenger")
    @classmethod
    def _are_versions(cls, uris: tuple[str, ...]) -> tuple[str, ...]:
        for uri in uris:
            match = MODEL_URI.fullmatch(uri)
            if match is None or match["logged"]:
                raise ValueError(f"expected {LABELLED_FORMS}")
        return uris


def challenger_problems(release: Release, model: str) -> Iterator[Problem]:
    """What is wrong with a job's challengers.

    Args:
        release: The section.
        model: The job's own model.
    """
    path = ("release", "challenger")
    if model in release.challenger:
        yield Problem(
            path,
            f"{model} is the job's own model; name another version or alias of it",
            (("model",),),
        )

    counts = Counter(label_of(uri) for uri in release.challenger)

    for label, n_times in counts.items():
        if n_times > 1:
            same = [uri for uri in release.challenger if label_of(uri) == label]

            yield Problem(
                path,
                f"{n_times} challengers are called {label}: {', '.join(same)}; each has a table of "
                "this name, so remove one, or name one by an alias of its own, "
                f"{_example(same[-1])}",
            )


def _example(uri: str) -> str:
    """A URI whose label no other challenger has."""
    match = MODEL_URI.fullmatch(uri)
    name = match["name"] if match is not None else "model"
    return f"such as models:/{name}@{name}_challenger"


def canary_problems(
    release: Release, keys: Sequence[str], pass_through: Sequence[str]
) -> Iterator[Problem]:
    """What is wrong with a job's canary.

    Args:
        release: The section.
        keys: The job's key columns.
        pass_through: Its other columns that go into the output.
    """
    if release.mode != "canary":
        for name in ("share", "by", "salt", "flag"):
            if getattr(release, name):
                yield Problem(
                    ("release", name),
                    f"release.{name} needs mode: canary, whose challenger scores the rows that it "
                    f"names, and release.mode is {release.mode}; remove it, or change the mode",
                    (("release", "mode"),),
                )
        return

    if len(release.challenger) != 1:
        yield Problem(
            ("release", "challenger"),
            f"a canary needs exactly one challenger, and {len(release.challenger)} are named; name "
            "one, or write mode: shadow",
            (("release", "mode"),),
        )

    needed = {"share": "such as share: 5%", "salt": "any text, such as salt: 2026-11"}
    for name, example in needed.items():
        if getattr(release, name) is None:
            yield Problem(
                ("release", name), f"a canary needs release.{name}; add it, {example}", ()
            )

    yield from _by_problems(release, keys, pass_through)


def _by_problems(
    release: Release, keys: Sequence[str], pass_through: Sequence[str]
) -> Iterator[Problem]:
    """What is wrong with the columns that rows are assigned by."""
    path = ("release", "by")
    unknown = [name for name in release.by if name not in (*keys, *pass_through)]

    if unknown:
        yield Problem(
            path,
            f"columns that rows are assigned by must be keys or columns of pass_through, found "
            f"{', '.join(unknown)}; add it there",
            (("keys",), ("pass_through",)),
        )
    if not release.by and not keys:
        yield Problem(
            path,
            "a canary needs columns to assign rows by, and the job has no keys; add keys, or name "
            "columns of pass_through as release.by",
            (("keys",),),
        )
    if release.hash == "flagd" and len(release.by) > 1:
        yield Problem(
            path, "hash: flagd needs exactly one column; name one, or write hash: xxh64", ()
        )
