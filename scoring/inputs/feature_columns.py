"""Checks the features of a partition's files against what the model wants."""

from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa

from nightscore.inputs.agreed_types import AgreedTypes
from nightscore.inputs.casts import WANTED, exceeds_float64, feature_cast, plain_type
from nightscore.inputs.footers import Footer
from nightscore.inputs.missing_columns import missing_column
from nightscore.inputs.schema_groups import SchemaGroup, count_columns
from nightscore.schemas.contract import InputColumn
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import Feature, FeatureType, ModelFacts

FOLDER_NUMBERS = ("double", "float", "long", "integer")
"""Types that the text of a folder's name is read as."""
SHOWN_NAMES = 40
MATRIX_TYPES: dict[str, FeatureType] = {
    "float64": "double",
    "float32": "float",
    "int64": "long",
    "int32": "integer",
    "object": "string",
}
"""What the columns of a matrix without names are wanted as, by its dtype."""


def choose_features(
    job: ScoringJob, facts: ModelFacts, schema: pa.Schema | None, problems: list[str]
) -> tuple[Feature, ...]:
    """The model's columns, in its order.

    Args:
        job: The job.
        facts: What the model version needs.
        schema: Of a file. A model without names takes the columns that the job sets apart for
            nothing else. Columns of folders are features only if they are named.
        problems: Gets what is wrong.
    """
    if facts.features:
        own_names = [feature.name for feature in facts.features]
        if job.features and list(job.features) != own_names:
            problems.append(
                "features: the model names its own columns; remove the key from the job file"
            )

        return facts.features

    if schema is None:
        return ()

    set_apart = {*job.keys.columns, *job.pass_through, job.input.partition_key}
    names = job.features or tuple(name for name in schema.names if name not in set_apart)
    if facts.n_features is not None and len(names) != facts.n_features:
        shown = ", ".join(names[:SHOWN_NAMES])
        if len(names) > SHOWN_NAMES:
            shown += ", ..."
        problems.append(
            f"the model was trained on {facts.n_features} columns without names, "
            f"the job leaves {len(names)}: {shown}; name them in order under `features`"
        )

    types = facts.positional_types
    if len(types) != len(names):
        types = (MATRIX_TYPES[facts.matrix_dtype],) * len(names)

    features = []
    for name, feature_type in zip(names, types, strict=True):
        features.append(Feature(name=name, type=feature_type))
    return tuple(features)


class FeatureColumns:
    """The features with types that hold the values of all files."""

    def __init__(self, job: ScoringJob, facts: ModelFacts, features: Sequence[Feature]) -> None:
        """Nothing is agreed on yet."""
        self._job, self._facts, self._features = job, facts, features
        self._types = AgreedTypes(mixes_numbers=True)

    @property
    def columns(self) -> dict[str, InputColumn]:
        """Those that some file has, by name."""
        return self._types.columns

    def check(self, group: SchemaGroup) -> Iterator[str]:
        """Agree on types with further files; what is wrong with them."""
        for feature in self._features:
            stored_type = group.type_of(feature.name)
            if stored_type is None:
                yield from self._missing(feature, group)
            elif group.is_from_folder(feature.name) and feature.type in FOLDER_NUMBERS:
                yield from self._check_folder(feature, group)
            elif self._is_time_among_numbers(feature, stored_type, group):
                yield _not_a_number(feature.name, stored_type, self._facts)
            else:
                yield from self._check_column(feature, stored_type)

    def settle(self, nullable: Collection[str]) -> dict[str, InputColumn]:
        """The columns as all batches have them, by name.

        Args:
            nullable: Features that have nulls somewhere in the partition.
        """
        return {name: self._settle(column, nullable) for name, column in self.columns.items()}

    def _missing(self, feature: Feature, group: SchemaGroup) -> Iterator[str]:
        if group.count(feature.name) > 1:
            return  # it is reported as ambiguous
        if feature.required or not self._facts.enforces_signature:
            yield missing_column(feature.name, feature.type, group.schema)

    def _is_time_among_numbers(
        self, feature: Feature, stored_type: pa.DataType, group: SchemaGroup
    ) -> bool:
        """Whether a model that states no types cannot take a column, whatever its values are.

        NumPy makes numbers of times if there is nothing else, and they have no time zone.
        """
        is_stated = feature.type != "any" or not self._facts.reads_numbers
        if is_stated or not pa.types.is_temporal(plain_type(stored_type)):
            return False

        types = {group.type_of(other.name) for other in self._features}
        return not all(pa.types.is_timestamp(other) and not other.tz for other in types if other)

    def _check_folder(self, feature: Feature, group: SchemaGroup) -> Iterator[str]:
        """Folder values that are no number: a folder's text has no type of its own."""
        arrow_type = WANTED[feature.type]
        texts: dict[str | None, None] = {}
        for footer in group.footers:
            for key, text in footer.file.hive:
                if key == feature.name:
                    texts[text] = None

        for text in texts:
            try:
                pa.scalar(text, pa.string()).cast(arrow_type)
            except pa.ArrowInvalid:
                yield f"{feature.name}: the folder {feature.name}={text} is no {arrow_type}"

        yield from self._agree(feature, arrow_type)

    def _check_column(self, feature: Feature, stored_type: pa.DataType) -> Iterator[str]:
        cast = feature_cast(stored_type, feature.type)
        if isinstance(cast, str):
            yield f"{feature.name}: {cast}"
            return

        arrow_type = cast.type
        has_zone = pa.types.is_timestamp(arrow_type) and arrow_type.tz
        if self._facts.enforces_signature and has_zone:
            yield (
                f"{feature.name}: has the time zone {arrow_type.tz}, and MLflow gives a pyfunc no "
                "times with one; write them without, in the zone that the model was trained on"
            )
            return

        passes = self._job.policy.cast == "pass" and cast.check == "exact"
        if passes and pa.types.is_integer(arrow_type):
            # Values that do not cast are missing, which integers cannot be.
            arrow_type = pa.float64()

        if pa.types.is_null(stored_type):
            arrow_type = stored_type

        yield from self._agree(feature, arrow_type)

    def _agree(self, feature: Feature, arrow_type: pa.DataType) -> Iterator[str]:
        problem = self._types.add(feature.name, arrow_type, feature.type)
        if problem:
            yield problem

    def _settle(self, column: InputColumn, nullable: Collection[str]) -> InputColumn:
        """With nulls, integers are floating numbers, as pandas makes of a file's.

        A column that is null in all files has the type that the model states. Where MLflow looks
        at the types, integers are integers, even if they are floating in the files: else it
        refuses all rows of a frame, and so only those with a null.
        """
        arrow_type = column.type
        if pa.types.is_null(arrow_type):
            arrow_type = WANTED.get(column.wanted, pa.float64())  # type: ignore[call-overload]

        has_nulls = column.name in nullable

        if self._facts.enforces_signature and column.wanted in ("long", "integer"):
            arrow_type = WANTED[column.wanted]  # type: ignore[index]
        elif has_nulls and pa.types.is_integer(arrow_type):
            arrow_type = pa.float64()

        return InputColumn(column.name, arrow_type, column.wanted, has_nulls)


def _not_a_number(name: str, stored_type: pa.DataType, facts: ModelFacts) -> str:
    return (
        f"{name}: has the type {stored_type}, and {facts.estimator} reads numbers; compute the "
        "number in the features"
    )


def nullable_features(
    features: Sequence[Feature], groups: Sequence[SchemaGroup], footers: Sequence[Footer]
) -> frozenset[str]:
    """Features that have nulls somewhere in the partition, as far as the files say."""
    nullable: set[str] = set()

    for group in groups:
        for feature in features:
            stored_type = group.type_of(feature.name)
            if stored_type is None or pa.types.is_null(stored_type):
                nullable.add(feature.name)

    for footer in footers:
        nullable |= footer.with_nulls
        for key, text in footer.file.hive:
            if text is None and not count_columns(footer.schema, key):
                nullable.add(key)

    return frozenset(nullable)


def inexact_integers(
    job: ScoringJob, features: Sequence[Feature], footers: Sequence[Footer]
) -> Iterator[str]:
    """Integers that float64 cannot hold, seen in the files' statistics.

    It is an error at once where no row may be lost.
    """
    limits = job.limits
    may_lose_rows = limits.max_quarantined_rows or limits.max_quarantined_share
    if may_lose_rows or job.policy.cast == "pass":
        return

    doubles = {feature.name for feature in features if feature.type == "double"}

    for footer in footers:
        for name, bounds in footer.ranges.items():
            if name in doubles and exceeds_float64(bounds):
                low, high = bounds
                yield (
                    f"{name}: has integers beyond 2**53 ({low} to {high}), "
                    f"which float64 cannot hold exactly ({footer.file.path})"
                )
