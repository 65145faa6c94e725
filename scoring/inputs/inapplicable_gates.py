"""Gates of a job that could never apply to its model. They are refused before any row is read."""

import difflib
from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa

from nightscore.inputs.casts import plain_type
from nightscore.schemas.contract import OutputColumn
from nightscore.schemas.gates import Estimated
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.performance import MOST_CLASSES

SHOWN_NAMES = 40
OF_BINARY = (
    "roc_auc",
    "average_precision",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "value",
    "log_loss",
    "brier",
)
OF_CLASSES = (
    "roc_auc_macro",
    "accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "log_loss",
    "brier",
)
OF_REGRESSIONS = ("rmse", "mae")
"""Metrics that a gate can judge, by what a model predicts."""


def inapplicable_gates(
    job: ScoringJob,
    facts: ModelFacts,
    features: Collection[str],
    predictions: Sequence[OutputColumn],
) -> list[str]:
    """What is wrong with the job's gates for this model, a sentence each.

    Args:
        job: The job.
        facts: What the model is.
        features: Names of its columns; empty: they are not known.
        predictions: The columns that it returns.
    """
    gates = job.gates
    prediction_names = [column.name for column in predictions]
    number_names = [column.name for column in predictions if _is_number(column.type)]
    returned = _describe_output(facts, predictions)
    problems: list[str] = []

    ranges = {"prediction": gates.prediction_range, "probability": gates.probability_range}
    for prefix, bounds in ranges.items():
        if bounds is not None and not any(name.startswith(prefix) for name in number_names):
            problems.append(
                f"gates.{prefix}_range: never applies: {returned}, and no {prefix} that is a number"
            )

    if gates.score_shift is not None and not number_names:
        problems.append(f"gates.score_shift: never applies: {returned} has no mean")

    if gates.estimated is not None:
        problems += _inapplicable_estimate(gates.estimated, returned, predictions)

    if gates.null_rate is not None and features:
        known = [*features, *prediction_names]
        problems += _unknown_columns(gates.null_rate.columns, known)

    return problems


def _inapplicable_estimate(
    gate: Estimated, returned: str, predictions: Sequence[OutputColumn]
) -> Iterator[str]:
    """A metric that is estimated of other models only."""
    never = f"gates.estimated: never applies: {returned}, and"

    of_model = _estimated_metrics(predictions)

    if not of_model:
        yield (
            f"{never} only models with one probability, with a probability of each class (at most "
            f"{MOST_CLASSES}), or with a predicted number are estimated"
        )
    elif gate.metric not in of_model:
        yield f"{never} {gate.metric} is not estimated of it; name one of {', '.join(of_model)}"
    elif of_model is OF_BINARY and gate.metric == "brier" and (gate.max or 0.0) >= 1.0:
        yield f"gates.estimated: max {gate.max:g} never stops a run: brier is at most 1"


def _estimated_metrics(predictions: Sequence[OutputColumn]) -> Sequence[str]:
    """The metrics that are estimated of a model, the best known one first; empty: none is."""
    types = {column.name: column.type for column in predictions}
    if "probability" in types:
        return OF_BINARY

    n_classes = sum(name.startswith("probability_") for name in types)
    if n_classes:
        return OF_CLASSES if "prediction" in types and n_classes <= MOST_CLASSES else ()

    is_regression = "prediction" in types and _is_float(types["prediction"])
    return OF_REGRESSIONS if is_regression else ()


def _unknown_columns(named: Collection[str], known: Sequence[str]) -> Iterator[str]:
    for name in named:
        if name in known:
            continue

        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"there are: {', '.join(known[:SHOWN_NAMES])}"
        if near:
            hint = f"did you mean {near[0]}?"
        yield f"gates.null_rate.columns: {name} is neither a feature nor a prediction; {hint}"


def _describe_output(facts: ModelFacts, predictions: Sequence[OutputColumn]) -> str:
    columns = ", ".join(f"{column.name} ({column.type})" for column in predictions)
    model = facts.estimator or facts.flavor or "the model"
    return f"{model} returns {columns or 'no column'}"


def _is_number(arrow_type: pa.DataType) -> bool:
    plain = plain_type(arrow_type)
    return bool(pa.types.is_integer(plain) or pa.types.is_floating(plain))


def _is_float(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_floating(plain_type(arrow_type)))
