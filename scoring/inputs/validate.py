"""Checks the files' schemas against the model and the job, before any row is read.

All problems are found at once.
"""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from nightscore.errors import ContractError
from nightscore.inputs.agreed_types import AgreedTypes
from nightscore.inputs.casts import passthrough_cast, plain_type
from nightscore.inputs.feature_columns import (
    FeatureColumns,
    choose_features,
    inexact_integers,
    nullable_features,
)
from nightscore.inputs.footers import Footer
from nightscore.inputs.inapplicable_gates import inapplicable_gates
from nightscore.inputs.missing_columns import ambiguous_columns, missing_column
from nightscore.inputs.prediction_columns import choose_predictions
from nightscore.inputs.schema_groups import SchemaGroup, group_schemas
from nightscore.ledger.output_formats import format_of
from nightscore.schemas.contract import Contract, InputColumn, OutputColumn
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import Feature, ModelFacts

MAX_CODE_BYTES = 4
"""A value, its part of the dictionary included."""


def check_contract(
    job: ScoringJob,
    facts: ModelFacts,
    footers: Sequence[Footer],
    borrowed: pa.Schema | None = None,
    nullable: Collection[str] = (),
) -> Contract:
    """The columns of the run.

    Args:
        job: The job.
        facts: What the model version needs.
        footers: Of the partition's files.
        borrowed: For a partition without rows, the schema of a file of another one.
        nullable: Features that have nulls, besides those of which the files say so.

    Raises:
        ContractError: With every problem of every distinct schema, and how many files have it.
    """
    # In files without rows, writers have guessed the types.
    footers = [footer for footer in footers if footer.n_rows] or footers
    groups = group_schemas(footers, borrowed)
    problems: list[str] = []
    predictions = choose_predictions(job, facts, problems)
    own_schema = footers[0].schema if footers else borrowed
    features = choose_features(job, facts, own_schema, problems)

    names = [*job.keys.columns, *job.pass_through]
    passthrough_names = [name for name in names if name != job.input.partition_key]

    feature_columns = FeatureColumns(job, facts, features)
    passthrough_types = AgreedTypes(mixes_numbers=False)
    feature_names = [feature.name for feature in features]
    needed = [*feature_names, *passthrough_names]

    for group in groups:
        for problem in (
            *ambiguous_columns(group, needed),
            *feature_columns.check(group),
            *_check_passthrough(job, passthrough_names, group, passthrough_types),
        ):
            problems.append(group.locate(problem, len(footers)))

    problems += inexact_integers(job, features, footers)

    problems += _job_problems(job, facts, passthrough_names, predictions)

    if groups:
        problems += _unknown_segments(job, {*feature_columns.columns, *passthrough_names})

    if predictions:
        problems += inapplicable_gates(job, facts, feature_names, predictions)

    if problems:
        raise _contract_error(job, facts, features, problems)

    with_nulls = {*nullable, *nullable_features(features, groups, footers)}
    used = {*needed}
    ordered = _in_order(feature_names, feature_columns.settle(with_nulls))
    passthrough = _in_order(passthrough_names, passthrough_types.columns)

    return Contract(
        features=tuple(ordered),
        passthrough=tuple(_null_as_text(column) for column in passthrough),
        predictions=tuple(predictions),
        has_position=not job.keys.columns,
        extra=_unused_columns(groups, used),
        types=_types(groups, used),
        dictionaries=_dictionaries(footers, ordered),
    )


def _in_order(names: Sequence[str], columns: Mapping[str, InputColumn]) -> list[InputColumn]:
    """The columns in the order of the names. Without files there may be fewer of them."""
    return [columns[name] for name in names if name in columns]


def _check_passthrough(
    job: ScoringJob, names: Sequence[str], group: SchemaGroup, types: AgreedTypes
) -> Iterator[str]:
    """Agree on types of keys and columns that are passed through; what is wrong with them."""
    for name in names:
        stored_type = group.type_of(name)
        if stored_type is None:
            # A name that occurs twice is reported as ambiguous.
            if group.count(name) <= 1:
                role = "a key" if name in job.keys.columns else "passed through"
                yield missing_column(name, role, group.schema)

            continue

        cast = passthrough_cast(stored_type, format_of(job))
        problem = f"{name}: {cast}" if isinstance(cast, str) else types.add(name, cast.type)
        if problem:
            yield problem


def _job_problems(
    job: ScoringJob,
    facts: ModelFacts,
    passthrough_names: Sequence[str],
    predictions: Sequence[OutputColumn],
) -> Iterator[str]:
    """What is wrong whatever the files are."""
    if job.policy.unseen_category in ("error", "quarantine") and not facts.categories:
        yield (
            f"policy.unseen_category is {job.policy.unseen_category}, "
            "but no encoder of the model says what it was fitted on"
        )

    prediction_names = [column.name for column in predictions]
    yield from _look_alikes(job, [*passthrough_names, *prediction_names])

    for name in sorted({*prediction_names} & {*passthrough_names}):
        yield f"{name}: is a key or passed through and also a prediction column"


def _unknown_segments(job: ScoringJob, known: Collection[str]) -> Iterator[str]:
    for name in job.drift.segments:
        if name in known:
            continue

        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else ""
        yield f"drift.segments: {name} is neither a feature nor a key nor passed through{hint}"


def _look_alikes(job: ScoringJob, names: Sequence[str]) -> Iterator[str]:
    """Names that a table cannot hold side by side: Delta compares them without case."""
    key = job.input.partition_key
    fold = str.lower if format_of(job).ignores_case else str
    groups: dict[str, list[str]] = {}

    for name in dict.fromkeys([*names, key, "model_version", "run_id"]):
        groups.setdefault(fold(name), []).append(name)

    for group in groups.values():
        if len(group) > 1:
            yield f"{' and '.join(group)}: differ only by case in the output"

    own_names = ("model_version", "run_id", "source_file", "source_row")

    is_prediction = key in names and key.startswith("prediction")
    if key in own_names or is_prediction:
        yield f"{key}: is the partition key and also a column of the output"


def _contract_error(
    job: ScoringJob, facts: ModelFacts, features: Sequence[Feature], problems: Sequence[str]
) -> ContractError:
    unique = list(dict.fromkeys(problems))
    n_problems = "1 problem" if len(unique) == 1 else f"{len(unique)} problems"

    return ContractError(
        f"The partition does not fit the model: {n_problems}; no row was read.",
        job.input.uri,
        expected=f"{len(features)} features of {facts.estimator or facts.flavor}",
        problems=unique,
        next_step="correct the input or the job file, "
        "or pin a model version that was trained on this schema",
    )


def _null_as_text(column: InputColumn) -> InputColumn:
    """A column that is null in all files is one of texts."""
    if pa.types.is_null(column.type):
        return InputColumn(column.name, pa.string())
    return column


def _unused_columns(groups: Sequence[SchemaGroup], used: Collection[str]) -> tuple[str, ...]:
    """Columns of the files that the run does not read."""
    names: dict[str, None] = {}
    for group in groups:
        if group.footers:
            names |= dict.fromkeys(group.footers[0].schema.names)
    return tuple(name for name in names if name not in used)


def _types(groups: Sequence[SchemaGroup], names: Collection[str]) -> tuple[tuple[str, str], ...]:
    """All types that the files have, by column."""
    types: dict[str, dict[str, None]] = {}

    for group in groups:
        for field in group.schema:
            if field.name in names:
                texts = types.setdefault(field.name, {})
                texts[str(plain_type(field.type))] = None

    return tuple((name, " or ".join(texts)) for name, texts in sorted(types.items()))


def _dictionaries(footers: Sequence[Footer], features: Sequence[InputColumn]) -> frozenset[str]:
    """Texts that all files store as dictionary codes, by their size.

    A plain text takes five bytes or more.
    """
    n_rows = sum(footer.n_rows for footer in footers)
    schemas = {id(footer.schema): footer.schema for footer in footers}
    coded = set()

    for column in features:
        if column.type != pa.string() or not _is_text_everywhere(schemas.values(), column.name):
            continue

        n_bytes = 0
        for footer in footers:
            n_bytes += sum(footer.row_groups.uncompressed_bytes([column.name]))

        if n_bytes < MAX_CODE_BYTES * n_rows:
            coded.add(column.name)

    return frozenset(coded)


def _is_text_everywhere(schemas: Iterable[pa.Schema], name: str) -> bool:
    for schema in schemas:
        index = schema.get_field_index(name)
        if index < 0 or plain_type(schema.field(index).type) != pa.string():
            return False
    return True
