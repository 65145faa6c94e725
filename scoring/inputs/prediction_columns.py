"""The prediction columns that the job asks for and the model can give."""

import pyarrow as pa

from nightscore.schemas.contract import OutputColumn
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import ModelFacts

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
KINDS = {"predict_proba": "probability", "decision_function": "decision", "raw": "raw"}
"""Method of a model to what its columns are called."""


def choose_predictions(
    job: ScoringJob, facts: ModelFacts, problems: list[str]
) -> list[OutputColumn]:
    """The columns; none if there is a problem.

    Args:
        job: The job.
        facts: What the model version can do.
        problems: Gets what is wrong.
    """
    method, problem = _choose_method(job, facts)
    if problem:
        problems.append(problem)
        return []

    predictions = _numbered_predictions(facts)

    kind = KINDS.get(method)
    if kind is None or (facts.n_outputs > 1 and kind == "probability"):
        return predictions

    return [*predictions, *_scores(kind, facts, problems)]


def _choose_method(job: ScoringJob, facts: ModelFacts) -> tuple[str, str]:
    """The method to call, and what is wrong with it."""
    methods, shown = facts.methods, ", ".join(facts.methods)

    if job.predict != "auto":
        if job.predict == "predict" or job.predict in methods:
            return job.predict, ""
        return "", f"predict: {facts.estimator} has no {job.predict}; it has {shown}"

    if facts.predict_function not in ("predict", "predict_proba"):
        problem = (
            f"predict: the model was logged with pyfunc_predict_fn={facts.predict_function!r}, "
            f"which is not called here; say what to call, for instance `predict: {methods[0]}`, "
            f"out of {shown}"
        )

        return "", problem

    has_probabilities = "predict_proba" in methods and facts.classes
    return ("predict_proba" if has_probabilities else "predict"), ""


def _numbered_predictions(facts: ModelFacts) -> list[OutputColumn]:
    """`prediction`, or `prediction_0` and so on where the model has several."""
    types = [ARROW_NAMES[name] for kind, name in facts.outputs if kind == "prediction"]
    if len(types) == 1:
        return [OutputColumn("prediction", types[0], "prediction")]

    columns = []
    for index, arrow_type in enumerate(types):
        columns.append(OutputColumn(f"prediction_{index}", arrow_type, "prediction", index))
    return columns


def _scores(kind: str, facts: ModelFacts, problems: list[str]) -> list[OutputColumn]:
    """Columns of probabilities, decisions or raw scores: one for each output or class."""
    if facts.n_outputs > 1:
        names = [f"{kind}_{index}" for index in range(facts.n_outputs)]
        return _numbered(names, kind)

    classes = facts.classes or ()
    is_single = len(classes) == 2 or (kind != "probability" and len(classes) < 2)
    if is_single:
        # Of two classes, the second one is the positive class.
        index = 1 if kind == "probability" else 0
        return [OutputColumn(kind, pa.float64(), kind, index)]

    names = [f"{kind}_{_class_name(value)}" for value in classes]
    if len(set(names)) < len(names):
        shown = ", ".join(sorted(names))
        problems.append(f"predict: two classes have the same name as column: {shown}")

    return _numbered(names, kind)


def _numbered(names: list[str], kind: str) -> list[OutputColumn]:
    return [OutputColumn(name, pa.float64(), kind, index) for index, name in enumerate(names)]


def _class_name(value: str | int | float | bool) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
