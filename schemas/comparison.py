"""How two models compare on the same rows: by what came true, or by what is expected."""

from typing import Literal

from nightscore.schemas.base_record import Stored
from nightscore.schemas.performance import MetricRecord

Verdict = Literal["better", "worse", "no_difference", "undecided", "no_harm_seen", "unknown"]
"""Of the challenger against the champion.

- `no_difference`: none that matters; the whole interval is near 0.
- `no_harm_seen`: of estimates alone, which never say `better`.
- `unknown`: nothing compares them, and notes say why.
"""


class LossSums(Stored):
    """How much more one model loses than the other on the same rows, summed up."""

    name: str
    """`log_loss`, `brier`, `error`, `squared_error` or `absolute_error`."""
    n: int
    """Rows."""
    champion: float
    """Mean loss of the champion."""
    difference: float
    """Mean of the rows' differences: the challenger's loss minus the champion's."""
    variance: float = 0.0
    """Of the rows' differences, around their mean, divided by `n`."""
    expected_variance: float = 0.0
    """The same as the mean of both models' probabilities lets expect it, of losses of
    probabilities. It is greater where a model is so sure that what refutes it has not come yet."""


class PairedRecord(Stored):
    """The labelled rows of a partition that both models have scored."""

    champion_run_id: str = ""
    """The run whose predictions the challenger's are compared with."""
    champion_name: str = ""
    """Name of its registered model. Empty: not stored, so the record is no evidence: other models
    have versions of the same number."""
    champion_version: str = ""
    """Version of its model. Empty: not known."""
    n: int = 0
    """Labelled rows with predictions of both."""
    losses: tuple[LossSums, ...] = ()
    """The first one decides. Empty: there are no such rows."""
    only_champion_right: int = 0
    """Rows that the champion alone has put into their class."""
    only_challenger_right: int = 0
    areas: tuple[MetricRecord, ...] = ()
    """Of a binary model: `champion_roc_auc`, `challenger_roc_auc`, `roc_auc_difference`."""
    notes: tuple[str, ...] = ()


class LossComparison(Stored):
    """What the nights say of one loss."""

    name: str
    champion: float
    """Mean of the days' mean losses. Days of few rows weigh less."""
    difference: float
    """The same mean of the days' differences. Negative: the challenger loses less."""
    low: float | None = None
    """Lower end of the confidence sequence. Null: not known yet."""
    high: float | None = None


class ComparisonRecord(Stored):
    """Where the decision between two versions stands."""

    champion: str
    """Version of the champion."""
    challenger: str
    verdict: Verdict
    by: Literal["labels", "estimates", "nothing"] = "nothing"
    """What the verdict is from."""
    nights: int = 0
    """Days that count."""
    n_challengers: int = 1
    """Of the job. All of them together are wrongly called better as seldom as one may be. 1 also in
    records from before this was stored, when each challenger was taken alone."""
    first: str = ""
    """The first of them."""
    last: str = ""
    rows: int = 0
    """Labelled rows that both have scored, of these days."""
    more_nights: int | None = None
    """About how many more nights decide it, if they are like those so far. Null: it is decided, or
    nobody can tell."""
    losses: tuple[LossComparison, ...] = ()
    """The first one decides."""
    only_champion_right: int | None = None
    """Rows that the champion alone has put into their class. Null: the model predicts numbers, or
    there are no labels."""
    only_challenger_right: int | None = None
    mcnemar: float | None = None
    """p-value of the exact test of these two counts. It takes rows of a night as independent, and
    does not hold under many looks: it decides nothing."""
    areas: tuple[MetricRecord, ...] = ()
    """ROC AUC of both and their difference, with DeLong's band, which decides nothing either."""
    notes: tuple[str, ...] = ()
    """Nights that were left out, and why nothing is known."""

    @property
    def is_better_by_labels(self) -> bool:
        """Labels show that the challenger is better."""
        return self.verdict == "better" and self.by == "labels"
