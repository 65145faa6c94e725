"""The steps of scikit-learn's pipelines, and the estimators within an estimator."""

from collections.abc import Iterator
from typing import Any


def split_pipeline(estimator: Any) -> tuple[list[Any], Any]:
    """The transforming steps of a pipeline, nested ones unrolled, and the step that predicts."""
    from sklearn.pipeline import Pipeline

    if type(estimator) is not Pipeline:  # a subclass may predict in its own way
        return [], estimator

    steps = [step for _, step in estimator.steps[:-1] if step is not None and step != "passthrough"]
    inner, final = split_pipeline(estimator.steps[-1][1])
    return [*steps, *inner], final


def walk_estimators(estimator: Any) -> Iterator[Any]:
    """The estimator and all estimators within it."""
    from sklearn.base import BaseEstimator

    waiting, seen = [estimator], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue

        seen.add(id(part))

        if isinstance(part, dict):
            waiting += list(part.values())
        elif isinstance(part, list | tuple):
            waiting += list(part)
        elif isinstance(part, BaseEstimator):
            yield part
            waiting += list(vars(part).values())
