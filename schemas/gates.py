"""The gates of a job: checks between scoring and publishing."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, Strict, field_validator, model_validator

from nightscore.schemas.base_record import Record
from nightscore.schemas.short_forms import (
    PERCENT,
    Accepts,
    read_number,
    read_off,
    read_percentage,
    read_whole,
)

ColumnName = Annotated[str, Field(min_length=1), Accepts("the name of a column")]
GateAction = Literal["fail", "hold", "warn"]
FiniteNumber = Annotated[float, Strict(), Field(allow_inf_nan=False), BeforeValidator(read_number)]
Percentage = Annotated[str, Field(pattern=PERCENT)]
Share = Annotated[
    float,
    Strict(),
    Field(ge=0.0, le=1.0),
    BeforeValidator(
        read_percentage, json_schema_input_type=Annotated[float, Field(ge=0, le=1)] | Percentage
    ),
    Accepts("a share from 0 to 1, such as 0.05, or 5%"),
]
Ratio = Annotated[
    float,
    Strict(),
    Field(ge=0.0, allow_inf_nan=False),
    BeforeValidator(
        read_percentage, json_schema_input_type=Annotated[float, Field(ge=0)] | Percentage
    ),
    Accepts("a ratio of at least 0, such as 0.5, or 50%"),
]
PositiveNumber = Annotated[
    float, Strict(), Field(gt=0.0, allow_inf_nan=False), BeforeValidator(read_number)
]

LESS_IS_BETTER = ("log_loss", "brier", "rmse", "mae")
"""Estimated metrics that have an upper bound."""
MOST_BRIER = 2.0
"""Of several classes: the sum over them of squared differences."""
LEAST_HISTORY = 3
"""With fewer earlier partitions, nothing can be said about what is usual."""


class Range(Record):
    """Bounds, both included."""

    min: FiniteNumber | None = None
    max: FiniteNumber | None = None
    action: GateAction = "fail"

    @model_validator(mode="after")
    def _has_bounds(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("needs `min` or `max`")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is greater than max {self.max}: no run can pass")
        return self


class NullRate(Record):
    """Share of missing values (null or NaN) in each feature and each prediction column."""

    max: Share
    columns: Annotated[
        dict[ColumnName, Share],
        Accepts("a mapping of column names to shares, such as {dep_delay: 5%}"),
    ] = {}
    """Columns with a bound of their own."""
    action: GateAction = "hold"

    @model_validator(mode="after")
    def _can_fail(self) -> Self:
        if min((self.max, *self.columns.values())) >= 1.0:
            raise ValueError(
                "max 1 never stops a run: no column can miss more than all values; lower it"
            )
        return self


class History(Record):
    """A comparison with the published partitions before this one."""

    runs: Annotated[int, Strict(), Field(ge=1, le=365), BeforeValidator(read_whole)] = 14
    """Earlier partitions to compare with, at least three. With fewer than three the gate passes
    and says so."""
    action: GateAction = "hold"

    @field_validator("runs")
    @classmethod
    def _are_enough(cls, runs: int) -> int:
        if runs < LEAST_HISTORY:
            raise ValueError(
                f"{runs} never stops a run: at least {LEAST_HISTORY} partitions are needed"
            )
        return runs


class ScoreShift(History):
    """How far the mean prediction is from the median of the earlier means.

    The distance is in standard deviations of the predictions of one partition.
    """

    max: PositiveNumber


class Rows(History):
    """The number of rows, divided by the median of the earlier numbers."""

    min_ratio: Ratio | None = None
    max_ratio: Ratio | None = None

    @model_validator(mode="after")
    def _has_bounds(self) -> Self:
        low, high = self.min_ratio, self.max_ratio

        if low is None and high is None:
            raise ValueError("needs `min_ratio` or `max_ratio`")

        if low is not None and high is not None and low > high:
            raise ValueError(
                f"min_ratio {low:g} is greater than max_ratio {high:g}: no run can pass"
            )

        if low == 0.0 and high is None:
            raise ValueError("min_ratio 0 never stops a run; raise it, or give `max_ratio`")

        return self


class Estimated(Record):
    """How right a model must be, by the estimate from the baseline's labels.

    It is judged on the worse end of the metric's 95 % band: the lower end, or the upper end of a
    metric that is better the less it is. Where there is no estimate, as with too few rows, the gate
    warns and holds nothing.
    """

    metric: Literal[
        "roc_auc",
        "average_precision",
        "accuracy",
        "precision",
        "recall",
        "f1",
        "roc_auc_macro",
        "precision_macro",
        "recall_macro",
        "f1_macro",
        "value",
        "log_loss",
        "brier",
        "rmse",
        "mae",
    ] = "roc_auc"
    """The metric. `log_loss`, `brier`, `rmse` and `mae` are better the less they are. `rmse` and
    `mae` are of regressions. Those that end in `_macro`, means over the classes, are of models of
    several classes, and so are `accuracy`, `log_loss` and `brier`. All but these and the `_macro`
    ones are of binary models."""
    min: FiniteNumber | None = None
    """Least value of a metric that is better the greater it is."""
    max_drop: PositiveNumber | None = None
    """How much less than the baseline's own value it may be."""
    max: FiniteNumber | None = None
    """Greatest value of a metric that is better the less it is."""
    max_rise: PositiveNumber | None = None
    """How much greater than the baseline's own value it may be."""
    action: GateAction = "hold"

    @property
    def less_is_better(self) -> bool:
        """Whether `max` and `max_rise` are its bounds, and not `min` and `max_drop`."""
        return self.metric in LESS_IS_BETTER

    @model_validator(mode="after")
    def _has_bounds(self) -> Self:
        least = {"min": self.min, "max_drop": self.max_drop}
        greatest = {"max": self.max, "max_rise": self.max_rise}

        own, other, better = least, greatest, "greater"
        if self.less_is_better:
            own, other, better = greatest, least, "less"

        for name, bound in other.items():
            if bound is not None:
                raise ValueError(
                    f"expected `{'` or `'.join(own)}`, found {name}: {self.metric} is better the "
                    f"{better} it is"
                )

        if all(bound is None for bound in own.values()):
            raise ValueError(f"needs `{'` or `'.join(own)}`")
        return self

    @model_validator(mode="after")
    def _can_pass(self) -> Self:
        if self.min is not None and self.min >= 1.0 and self.metric != "value":
            raise ValueError(f"min {self.min:g}: {self.metric} is at most 1: no run can pass")
        if self.max is not None and self.max <= 0.0:
            raise ValueError(f"max {self.max:g}: {self.metric} is above 0: no run can pass")
        if self.max is not None and self.max >= MOST_BRIER and self.metric == "brier":
            raise ValueError(
                f"max {self.max:g} never stops a run: brier is at most 1, and of several classes "
                f"{MOST_BRIER:g}"
            )
        return self


class Gates(Record):
    """Checks before publishing, each with an action.

    `fail`: the run fails and nothing is published. `hold`: the run is complete but not published;
    `nightscore approve` publishes it, `nightscore reject` drops it. `warn`: published, with a
    warning. Lost rows are always checked, and always fail.
    """

    unique_keys: GateAction = "fail"
    """No two published rows have the same keys. Needs `keys.unique`."""
    finite_predictions: Annotated[GateAction | Literal["off"], BeforeValidator(read_off)] = "warn"
    """No prediction is missing, NaN or infinite."""
    prediction_range: Range | None = None
    """Bounds of the column `prediction`, or of all numeric `prediction_*` columns."""
    probability_range: Range | None = None
    """Bounds of each probability, such as how close to 0 and 1 your model is known to come."""
    null_rate: NullRate | None = None
    """Bounds of the share of missing values in each column."""
    score_shift: ScoreShift | None = None
    """Bound of the change of the mean prediction."""
    rows: Rows | None = None
    """Bounds of the number of rows, relative to earlier partitions."""
    estimated: Estimated | None = None
    """Bounds of the estimated performance. Needs a baseline with labels
    (`nightscore baseline --label`)."""

    @field_validator("probability_range")
    @classmethod
    def _is_a_probability(cls, bounds: Range | None) -> Range | None:
        if bounds is None:
            return None

        if bounds.min is not None and bounds.min > 1.0:
            raise ValueError(
                f"min {bounds.min:g} is above 1, the greatest probability: no run can pass"
            )

        if bounds.max is not None and bounds.max < 0.0:
            raise ValueError(
                f"max {bounds.max:g} is below 0, the least probability: no run can pass"
            )

        return bounds
