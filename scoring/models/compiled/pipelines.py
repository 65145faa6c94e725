"""Scikit-learn's models, with what is in front of them, as data for machine code."""

from typing import Any

from nightscore.models.compiled.linear import CLASSIFIERS, REGRESSORS, LinearForm, linear_form
from nightscore.models.compiled.trees import TreesForm, trees_form
from nightscore.models.structure.sklearn_pipelines import split_pipeline
from nightscore.schemas.model import ModelFacts


def sklearn_form(model: Any, facts: ModelFacts) -> LinearForm | TreesForm:
    """The data of a fitted estimator or pipeline.

    Args:
        model: As scikit-learn has loaded it.
        facts: What the model is.

    Raises:
        UnsupportedError: There is no compiled form.
    """
    steps, final = split_pipeline(model)
    is_library = type(final).__module__.startswith("sklearn.")
    if is_library and type(final).__name__ in (*CLASSIFIERS, *REGRESSORS):
        return linear_form(steps, final, facts)

    return trees_form(steps, final, facts)
