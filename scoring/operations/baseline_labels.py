"""What the labels of a baseline mean: numbers, or which classes of the model they name."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.errors import InputError
from nightscore.inputs.casts import plain_type
from nightscore.inputs.dataset import Dataset
from nightscore.profiles.class_codes import class_name
from nightscore.profiles.class_counter import ClassColumns, class_names
from nightscore.profiles.profile import kind_of
from nightscore.profiles.profile_spec import BINARY_SCORE, score_column
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.performance import MOST_CLASSES
from nightscore.schemas.text import counted

MAX_NAMED = 10


def label_classes(
    job: ScoringJob, data: Dataset, contract: Contract, facts: ModelFacts, label: str
) -> tuple[str, ...]:
    """The classes that the labels name, in the model's order. Empty: labels are numbers.

    Args:
        job: `labels.positive` says how the labels of a binary model spell its second class.
        data: Of the baseline.
        contract: The columns of the predictions.
        facts: The model's classes.
        label: The column of the labels.

    Raises:
        InputError: The labels cannot be compared with the predictions, or some are of no class of
            the model; values and numbers are named.
    """
    label_type = next(column.type for column in contract.passthrough if column.name == label)
    kinds = {column.name: kind_of(column.type) for column in contract.predictions}
    is_text = bool(pa.types.is_string(plain_type(label_type)))

    classes = ClassColumns.of(list(kinds))
    if classes is not None and kind_of(label_type) is not None:
        _check_known(label, _count_labels(data, label), classes.names)
        return classes.names

    score = score_column(kinds)
    if score == BINARY_SCORE and is_text:
        return _two_classes(job, data, facts, label)

    _check_outcome(label, label_type, score, list(kinds))
    return ()


def _two_classes(job: ScoringJob, data: Dataset, facts: ModelFacts, label: str) -> tuple[str, ...]:
    """The names of a binary model's classes, as the labels spell them."""
    counts = _count_labels(data, label)
    names = tuple(map(class_name, facts.classes or ()))

    if job.labels is not None and job.labels.positive is not None:
        positive = class_name(job.labels.positive)
        others = Counter(counts)
        del others[positive]
        most = others.most_common(1)
        names = (most[0][0] if most else "", positive)

    _check_known(label, counts, names)
    return names


def _count_labels(data: Dataset, label: str) -> dict[str, int]:
    """The labels that occur, as names of classes, and how often each does."""
    counts: Counter[str] = Counter()
    for column in data.read(label):
        values = pc.value_counts(pc.drop_null(column.cast(plain_type(column.type))))
        for value, count in zip(
            values.field("values").to_pylist(), values.field("counts").to_pylist(), strict=True
        ):
            counts[class_name(value)] += count
    return dict(counts)


def _check_known(label: str, counts: Mapping[str, int], names: Sequence[str]) -> None:
    unknown = Counter(counts)
    for name in names:
        del unknown[name]

    if not unknown:
        return

    shown = []
    for name, n in unknown.most_common(MAX_NAMED):
        shown.append(f"{name}: {counted(n, 'label')}")

    if len(unknown) > MAX_NAMED:
        shown.append(f"and {len(unknown) - MAX_NAMED} more values")

    raise InputError(
        f"{counted(unknown.total(), 'label')} of no class that the model knows.",
        label,
        expected=", ".join(sorted(names)),
        found="; ".join(shown),
        next_step="correct the labels; of a binary model whose classes they spell otherwise, name "
        "the label of the positive class as labels.positive in the job file",
    )


def _check_outcome(
    label: str, label_type: pa.DataType, score: str, predictions: Sequence[str]
) -> None:
    is_outcome = kind_of(label_type) == "number" or pa.types.is_boolean(label_type)
    if score and is_outcome:
        return

    shown_score = f"the score {score}" if score else "no single score"
    n_classes = len(class_names(predictions))
    if n_classes > MOST_CLASSES:
        shown_score = f"{n_classes} classes, of which at most {MOST_CLASSES} are counted"

    raise InputError(
        "The label cannot be compared with the predictions.",
        label,
        expected="a label of numbers or booleans and a model with one score, or a label that names "
        "classes and a model with a probability of each class",
        found=f"a label of type {label_type}, {shown_score}",
        next_step="write the label as 0 and 1, as a number or as the name of a class, or leave "
        "--label out",
    )
