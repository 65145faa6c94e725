"""Checks the files' schemas against the model and the job: all problems at once, before any row is read."""

import difflib
from collections import Counter
from collections.abc import Collection, Sequence

import pyarrow as pa

from nightscore.errors import ContractError
from nightscore.inputs.applicable import inapplicable_gates
from nightscore.inputs.casts import WANTED, exceeds_float64, feature_cast, kept_cast, plain_type
from nightscore.inputs.footers import Footer
from nightscore.ledger.formats import format_of
from nightscore.schemas.contract import Contract, InputColumn, OutputColumn
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import Feature, FeatureType, ModelFacts

FOLDER_NUMBERS = ("double", "float", "long", "integer")

ARROW_NAMES = {
    "double": pa.float64(),
    "long": pa.int64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "float": pa.float32(),
    "integer": pa.int32(),
    "binary": pa.binary(),
    "datetime": pa.timestamp("us"),
}

MATRIX_TYPES: dict[str, FeatureType] = {
    "float64": "double",
    "float32": "float",
    "int64": "long",
    "int32": "integer",
    "object": "string",
}
"""What the columns of a matrix without names are wanted as, by its dtype."""
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
        nullable: Features that have nulls besides those of which the files say so.

    Raises:
        ContractError: With every problem of every distinct schema, and how many files have it.
    """
    # Of files without rows writers have guessed the types.
    footers = [footer for footer in footers if footer.n_rows] or footers
    schemas = _distinct(footers) or ([(borrowed, [])] if borrowed is not None else [])
    problems: list[str] = []
    predictions = _predictions(job, facts, problems)
    own = (
        footers[0].schema if footers else borrowed
    )  # folders' columns are features only where they are named
    features = _features(job, facts, own, problems)
    kept_names = [
        name for name in (*job.keys.columns, *job.pass_through) if name != job.input.partition_key
    ]
    columns: dict[str, InputColumn] = {}
    kept: dict[str, InputColumn] = {}
    for schema, members in schemas:
        found: list[str] = []
        found += _ambiguous(schema, members, [*(feature.name for feature in features), *kept_names])
        _check_schema(job, facts, features, schema, members, columns, found)
        _keep(job, kept_names, schema, kept, found)
        problems += [f"{text}{_in_files(members, len(footers))}" for text in found]
    for footer in footers:
        problems += _beyond(job, features, footer)
    if job.policy.unseen_category in ("error", "quarantine") and not facts.categories:
        problems.append(
            f"policy.unseen_category is {job.policy.unseen_category}, but no encoder of the model says what it was "
            "fitted on"
        )
    problems += _look_alikes(job, [*kept_names, *(column.name for column in predictions)])
    taken = {column.name for column in predictions} & set(kept_names)
    problems += [
        f"{name}: is a key or passed through and also a prediction column" for name in sorted(taken)
    ]
    known = {*columns, *kept_names}
    problems += [
        f"drift.segments: {name} is neither a feature nor a key nor passed through"
        for name in job.drift.segments
        if schemas and name not in known
    ]
    if predictions:
        problems += inapplicable_gates(
            job, facts, [feature.name for feature in features], predictions
        )
    if problems:
        unique = list(dict.fromkeys(problems))
        raise ContractError(
            f"The partition does not fit the model: {len(unique)} problem{'s'[: len(unique) != 1]}; no row was read.",
            job.input.uri,
            expected=f"{len(features)} features of {facts.estimator or facts.flavor}",
            problems=unique,
            next_step="correct the input or the job file, or pin a model version that was trained on this schema",
        )
    with_nulls = {*nullable, *_nullable(features, schemas, footers)}
    columns = {name: _settled(column, facts, with_nulls) for name, column in columns.items()}
    used = {feature.name for feature in features} | set(kept_names)
    firsts = (members[0].schema for _, members in schemas if members)
    extra = dict.fromkeys(name for schema in firsts for name in schema.names if name not in used)
    return Contract(
        features=tuple(columns[f.name] for f in features if f.name in columns),
        passthrough=tuple(_typed(kept[name]) for name in kept_names if name in kept),
        predictions=tuple(predictions),
        has_position=not job.keys.columns,
        extra=tuple(extra),
        types=_types(schemas, used),
        dictionaries=_dictionaries(
            footers, [columns[f.name] for f in features if f.name in columns]
        ),
    )


def _dictionaries(footers: Sequence[Footer], features: Sequence[InputColumn]) -> frozenset[str]:
    """Texts that all files have as dictionary codes, by their size: a plain one takes five bytes or more."""
    n_rows = sum(footer.n_rows for footer in footers)
    found = set()
    for column in features:
        n_bytes = sum(
            sum(footer.row_groups.uncompressed_bytes([column.name])) for footer in footers
        )
        is_text = all(
            column.name in footer.schema.names
            and plain_type(footer.schema.field(column.name).type) == pa.string()
            for footer in footers
        )
        if column.type == pa.string() and is_text and n_bytes < MAX_CODE_BYTES * n_rows:
            found.add(column.name)
    return frozenset(found)


def _types(
    schemas: Sequence[tuple[pa.Schema, list[Footer]]], names: Collection[str]
) -> tuple[tuple[str, str], ...]:
    """Of each column all types that the files have."""
    found: dict[str, dict[str, None]] = {}
    for schema, _ in schemas:
        for field in schema:
            if field.name in names:
                found.setdefault(field.name, {})[str(plain_type(field.type))] = None
    return tuple((name, " or ".join(types)) for name, types in sorted(found.items()))


def _look_alikes(job: ScoringJob, names: Sequence[str]) -> list[str]:
    """Names that a table cannot hold side by side: Delta compares them without case."""
    fold = str.lower if format_of(job).ignores_case else str
    everything = dict.fromkeys([*names, job.input.partition_key, "model_version", "run_id"])
    groups: dict[str, list[str]] = {}
    for name in everything:
        groups.setdefault(fold(name), []).append(name)
    found = [
        f"{' and '.join(group)}: differ only by case in the output"
        for group in groups.values()
        if len(group) > 1
    ]
    own = {
        "model_version",
        "run_id",
        "source_file",
        "source_row",
        *(n for n in names if n.startswith("prediction")),
    }
    if job.input.partition_key in own:
        found.append(
            f"{job.input.partition_key}: is the partition key and also a column of the output"
        )
    return found


def _distinct(footers: Sequence[Footer]) -> list[tuple[pa.Schema, list[Footer]]]:
    groups: list[tuple[pa.Schema, list[Footer]]] = []
    by_text: dict[str, list[Footer]] = {}
    texts: dict[int, str] = {}  # footers that were read together have equal schemas in common
    for footer in footers:
        if id(footer.schema) not in texts:
            texts[id(footer.schema)] = str(footer.schema)
        text = f"{texts[id(footer.schema)]}|{[key for key, _ in footer.file.hive]}"
        if text not in by_text:
            by_text[text] = []
            groups.append((_with_folders(footer), by_text[text]))
        by_text[text].append(footer)
    return groups


def _with_folders(footer: Footer) -> pa.Schema:
    """The file's schema and the columns that its folders give; a column of the file goes before a folder's."""
    schema = footer.schema
    for key, _ in footer.file.hive:
        if key not in schema.names:
            schema = schema.append(pa.field(key, pa.string()))
    return schema


def _in_files(members: Sequence[Footer], n_files: int) -> str:
    if not members or n_files == 1:
        return ""
    return f" ({len(members)} of {n_files} files, first {members[0].file.path})"


def _features(
    job: ScoringJob, facts: ModelFacts, schema: pa.Schema | None, problems: list[str]
) -> tuple[Feature, ...]:
    if facts.features:
        if job.features and list(job.features) != [feature.name for feature in facts.features]:
            problems.append(
                "features: the model names its own columns; remove the key from the job file"
            )
        return facts.features
    if schema is None:
        return ()
    set_apart = {*job.keys.columns, *job.pass_through, job.input.partition_key}
    names = job.features or tuple(name for name in schema.names if name not in set_apart)
    if facts.n_features is not None and len(names) != facts.n_features:
        problems.append(
            f"the model was trained on {facts.n_features} columns without names, the job leaves {len(names)}: "
            f"{', '.join(names[:40])}{', ...' if len(names) > 40 else ''}; name them in order under `features`"
        )
    kind = MATRIX_TYPES[facts.matrix_dtype]
    types = (
        facts.positional_types if len(facts.positional_types) == len(names) else [kind] * len(names)
    )
    return tuple(Feature(name=name, type=t) for name, t in zip(names, types, strict=True))


def _check_schema(
    job: ScoringJob,
    facts: ModelFacts,
    features: Sequence[Feature],
    schema: pa.Schema,
    members: Sequence[Footer],
    columns: dict[str, InputColumn],
    problems: list[str],
) -> None:
    for feature in features:
        index = schema.get_field_index(feature.name)
        if index < 0:
            if schema.names.count(feature.name) > 1:
                continue
            if feature.required or not facts.enforces_signature:
                problems.append(_missing(feature.name, feature.type, schema))
            continue
        if (
            members
            and feature.name not in members[0].schema.names
            and feature.type in FOLDER_NUMBERS
        ):
            kind = WANTED[feature.type]
            problems += _unreadable(feature.name, kind, members)
            _agree(columns, feature, kind, problems)
            continue
        cast = feature_cast(schema.field(index).type, feature.type)
        if isinstance(cast, str):
            problems.append(f"{feature.name}: {cast}")
            continue
        kind = cast.type
        if facts.enforces_signature and pa.types.is_timestamp(kind) and kind.tz:
            problems.append(
                f"{feature.name}: has the time zone {kind.tz}, and MLflow gives a pyfunc no times with one; "
                "write them without, in the zone that the model was trained on"
            )
            continue
        if job.policy.cast == "pass" and cast.check == "exact" and pa.types.is_integer(kind):
            kind = pa.float64()  # values that do not cast are missing, which integers cannot be
        is_null = pa.types.is_null(schema.field(index).type)
        _agree(columns, feature, pa.null() if is_null else kind, problems)


def _agree(
    columns: dict[str, InputColumn], feature: Feature, kind: pa.DataType, problems: list[str]
) -> None:
    """Find the type of a feature that holds the values of these files and of those before; null is of any type."""
    known = columns.get(feature.name)
    if known is None or pa.types.is_null(known.type):
        columns[feature.name] = InputColumn(feature.name, kind, feature.type)
        return
    if pa.types.is_null(kind) or kind == known.type:
        return
    agreed = _wider(known.type, kind) or _floating(known.type, kind)
    if agreed is None:
        problems.append(f"{feature.name}: has the type {kind} here and {known.type} in other files")
        return
    columns[feature.name] = InputColumn(feature.name, agreed, feature.type)


def _nullable(
    features: Sequence[Feature],
    schemas: Sequence[tuple[pa.Schema, list[Footer]]],
    footers: Sequence[Footer],
) -> frozenset[str]:
    """Features that have nulls somewhere in the partition, as far as the files say."""
    found = {name for footer in footers for name in footer.with_nulls}
    for schema, _ in schemas:
        for feature in features:
            index = schema.get_field_index(feature.name)
            if index < 0 or pa.types.is_null(schema.field(index).type):
                found.add(feature.name)
    for footer in footers:
        found |= {
            key for key, text in footer.file.hive if text is None and key not in footer.schema.names
        }
    return frozenset(found)


def _settled(column: InputColumn, facts: ModelFacts, nullable: Collection[str]) -> InputColumn:
    """The column as all batches have it: with nulls integers are floating numbers, as pandas makes of a file's.

    One that is null in all files has the type that the model states. Where MLflow looks at the types, integers are
    integers, be they floating in the files: it refuses all rows of a frame else, and so only those with a null.
    """
    kind = column.type
    if pa.types.is_null(kind):
        kind = pa.float64() if column.wanted == "any" else WANTED[column.wanted]  # type: ignore[index]
    has_nulls = column.name in nullable
    if facts.enforces_signature and column.wanted in ("long", "integer"):
        kind = WANTED[column.wanted]  # type: ignore[index]
    elif has_nulls and pa.types.is_integer(kind):
        kind = pa.float64()
    return InputColumn(column.name, kind, column.wanted, has_nulls)


def _ambiguous(schema: pa.Schema, members: Sequence[Footer], needed: Sequence[str]) -> list[str]:
    """Needed names that several columns of a file have: which of them is meant cannot be said."""
    counts = Counter(schema.names)
    path = members[0].file.path if members else "the file"
    return [
        f"{name}: {path} has {counts[name]} columns of this name"
        for name in dict.fromkeys(needed)
        if counts[name] > 1
    ]


def _unreadable(name: str, kind: pa.DataType, members: Sequence[Footer]) -> list[str]:
    """Folder values that are no number of the wanted type: a folder's text has no type of its own."""
    texts = dict.fromkeys(
        text for footer in members for key, text in footer.file.hive if key == name
    )
    found = []
    for text in texts:
        try:
            pa.scalar(text, pa.string()).cast(kind)
        except pa.ArrowInvalid:
            found.append(f"{name}: the folder {name}={text} is no {kind}")
    return found


def _keep(
    job: ScoringJob,
    names: Sequence[str],
    schema: pa.Schema,
    kept: dict[str, InputColumn],
    problems: list[str],
) -> None:
    for name in names:
        index = schema.get_field_index(name)
        if index < 0:
            if schema.names.count(name) > 1:
                continue
            problems.append(
                _missing(name, "a key" if name in job.keys.columns else "passed through", schema)
            )
            continue
        cast = kept_cast(schema.field(index).type, format_of(job))
        if isinstance(cast, str):
            problems.append(f"{name}: {cast}")
            continue
        known = kept.get(name)
        if known is not None and pa.types.is_null(cast.type):
            continue
        agreed = (
            cast.type
            if known is None or pa.types.is_null(known.type)
            else _wider(known.type, cast.type)
        )
        if agreed is None:
            problems.append(
                f"{name}: has the type {cast.type} here and {known and known.type} in other files"
            )
            continue
        kept[name] = InputColumn(name, agreed)


def _typed(column: InputColumn) -> InputColumn:
    """A column that is null in all files is one of strings."""
    return InputColumn(column.name, pa.string()) if pa.types.is_null(column.type) else column


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both without loss, or None."""
    if one == other:
        return one
    if plain_type(one) == plain_type(other):
        return plain_type(one)
    signed = (pa.types.is_signed_integer(one), pa.types.is_signed_integer(other))
    if all(signed) or (pa.types.is_floating(one) and pa.types.is_floating(other)):
        return max(one, other, key=lambda t: t.bit_width)
    return None


def _floating(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """float64 for integers in one file and floating numbers in another; the values are checked one by one."""
    numeric = (pa.types.is_integer, pa.types.is_floating)
    both = all(any(is_one(kind) for is_one in numeric) for kind in (one, other))
    return pa.float64() if both else None


def _missing(name: str, role: str, schema: pa.Schema) -> str:
    near = difflib.get_close_matches(name, schema.names, n=1, cutoff=0.6)
    return f"{name}: is missing ({role})" + (f"; the file has {near[0]}" if near else "")


def _beyond(job: ScoringJob, features: Sequence[Feature], footer: Footer) -> list[str]:
    """Integers that float64 cannot hold, seen in the statistics: an error at once where no row may be lost."""
    limits = job.limits
    if limits.max_quarantined_rows or limits.max_quarantined_share or job.policy.cast == "pass":
        return []
    return [
        f"{feature.name}: has integers beyond 2**53 ({low} to {high}), which float64 cannot hold exactly "
        f"({footer.file.path})"
        for feature in features
        if feature.type == "double" and feature.name in footer.ranges
        for low, high in [footer.ranges[feature.name]]
        if exceeds_float64((low, high))
    ]


def _predictions(job: ScoringJob, facts: ModelFacts, problems: list[str]) -> list[OutputColumn]:
    """The prediction columns that the job asks for and the model can give."""
    methods = facts.methods
    wanted = job.predict
    if wanted == "auto" and facts.predict_function not in ("predict", "predict_proba"):
        problems.append(
            f"predict: the model was logged with pyfunc_predict_fn={facts.predict_function!r}, which is not called "
            f"here; say what to call, for instance `predict: {methods[0]}`, out of {', '.join(methods)}"
        )
        return []
    if wanted == "auto":
        wanted = "predict_proba" if "predict_proba" in methods and facts.classes else "predict"
    if wanted != "predict" and wanted not in methods:
        problems.append(f"predict: {facts.estimator} has no {wanted}; it has {', '.join(methods)}")
        return []
    kind = {"predict_proba": "probability", "decision_function": "decision", "raw": "raw"}.get(
        wanted
    )
    found = _numbered("prediction", facts)
    if kind is None:
        return found
    if facts.n_outputs > 1 and wanted == "predict_proba":
        return found
    if facts.n_outputs > 1:
        return [
            *found,
            *(OutputColumn(f"{kind}_{i}", pa.float64(), kind, i) for i in range(facts.n_outputs)),
        ]
    classes = facts.classes or ()
    if len(classes) == 2 or (kind != "probability" and len(classes) < 2):
        return [*found, OutputColumn(kind, pa.float64(), kind, 1 if kind == "probability" else 0)]
    names = [f"{kind}_{_class_name(value)}" for value in classes]
    if len(set(names)) < len(names):
        problems.append(
            f"predict: two classes have the same name as column: {', '.join(sorted(names))}"
        )
    return [*found, *(OutputColumn(name, pa.float64(), kind, i) for i, name in enumerate(names))]


def _class_name(value: str | int | float | bool) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _numbered(kind: str, facts: ModelFacts) -> list[OutputColumn]:
    types = [ARROW_NAMES[name] for found, name in facts.outputs if found == "prediction"]
    if len(types) == 1:
        return [OutputColumn(kind, types[0], kind)]
    return [OutputColumn(f"{kind}_{i}", kind=kind, type=t, index=i) for i, t in enumerate(types)]
