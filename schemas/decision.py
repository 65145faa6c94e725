"""What a model's score decides, and what each outcome of a decision is worth."""

from typing import Annotated

from pydantic import BeforeValidator, Field, Strict

from nightscore.schemas.base_record import Record
from nightscore.schemas.gates import FiniteNumber, Percentage
from nightscore.schemas.short_forms import Accepts, read_percentage


class DecisionValues(Record):
    """What one row of each outcome is worth, in a unit of your own. Costs are negative."""

    tp: FiniteNumber = 0.0
    """A positive row that was predicted positive."""
    fp: FiniteNumber = 0.0
    """A negative row that was predicted positive."""
    fn: FiniteNumber = 0.0
    """A positive row that was predicted negative."""
    tn: FiniteNumber = 0.0
    """A negative row that was predicted negative."""


class Decision(Record):
    """How you decide on a row by its probability. Performance is estimated and measured for it."""

    threshold: Annotated[
        float,
        Strict(),
        Field(ge=0.0, lt=1.0),
        BeforeValidator(
            read_percentage,
            json_schema_input_type=Annotated[float, Field(ge=0, lt=1)] | Percentage,
        ),
        Accepts("a probability of at least 0 and below 1, such as 0.5, or 50%"),
    ] = 0.5
    """A row is predicted positive if its probability is greater, as with scikit-learn's `predict`.
    `nightscore baseline` cuts a bin of the score here, so set it before you log a baseline."""
    values: DecisionValues | None = None
    """What one row of each outcome is worth: `{tp: 20, fp: -5}`. Outcomes that you leave out are
    worth 0. null: the metric `value` is left out."""
