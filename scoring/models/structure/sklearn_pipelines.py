"""The steps of scikit-learn's pipelines, and the estimators that one is made of."""

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
    """The estimator and all that it is made of."""
    from sklearn.base import BaseEstimator

    waiting, seen = [estimator], set()
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, dict):
            waiting += list(found.values())
        elif isinstance(found, list | tuple):
            waiting += list(found)
        elif isinstance(found, BaseEstimator):
            yield found
            waiting += list(vars(found).values())
