"""How the predictions of a challenger differ from the champion's, on the rows that both scored."""

from typing import Literal

from nightscore.schemas.base_record import Stored


class QuantileRecord(Stored):
    """A quantile of the differences."""

    p: float
    """Share of the rows that are not above it."""
    value: float


class DeltaRecord(Stored):
    """Differences between the two models' scores, row by row: challenger minus champion."""

    mean: float
    spread: float | None = None
    """Standard deviation. Null: a single row."""
    mean_absolute: float
    """The mean of their sizes, without sign."""
    least: float
    greatest: float
    quantiles: tuple[QuantileRecord, ...] = ()
    n_equal: int = 0
    """Rows with the same score."""
    n_higher: int = 0
    """Rows that the challenger scores higher."""
    n_lower: int = 0
    relative_error: float = 0.0
    """Of quantiles and of the mean size, at most. The spread is as far from the true one as this
    share of the root mean square, at most. The mean, the least and the greatest are exact."""


class FlipsRecord(Stored):
    """Rows by both models' decisions at the threshold."""

    threshold: float
    n00: int = 0
    """Negative for both."""
    n01: int = 0
    """Negative for the champion, positive for the challenger."""
    n10: int = 0
    """Positive for the champion, negative for the challenger."""
    n11: int = 0
    """Positive for both."""


class ClassChangeRecord(Stored):
    """Rows that two models put into different classes."""

    champion: str
    """Empty: a class that the champion's model does not name."""
    challenger: str
    n: int


class ClassesRecord(Stored):
    """Rows by both models' classes."""

    n_same: int = 0
    n_changed: int = 0
    changes: tuple[ClassChangeRecord, ...] = ()
    """The most frequent changes first, at most 100."""


class RankRecord(Stored):
    """Whether both models put rows into the same order."""

    spearman: float | None = None
    """Rank correlation. Null: it is not known, and `note` says why."""
    low: float | None = None
    """What it is at least, since scores are counted in bins, and perhaps for a sample of rows."""
    high: float | None = None
    n: int = 0
    """Rows that it is of."""
    note: str = ""


class TopRecord(Stored):
    """How many keys are among the k highest scores of both models.

    Of models of several classes, the scores are both models' probabilities of the class that the
    champion predicts.
    """

    k: int
    n_common: int


class GroupRecord(Stored):
    """The differences of the rows of a segment, or of a bin of a feature."""

    kind: Literal["segment", "feature"]
    column: str
    value: str | None = None
    """Of a column of values. Null: a bin of numbers."""
    above: float | None = None
    """The rows with greater numbers. Null: no bound."""
    up_to: float | None = None
    """The rows with numbers not greater. Null: no bound."""
    n: int = 0
    """Rows that were looked at."""
    share: float = 0.0
    """Of all rows."""
    mean: float = 0.0
    mean_absolute: float = 0.0
    elsewhere: float = 0.0
    """The mean size of the difference in all other rows."""
    share_to_positive: float | None = None
    """Of its rows, those that the challenger alone predicts positive. Null: no threshold."""
    share_to_negative: float | None = None

    @property
    def ratio(self) -> float | None:
        """The mean size of its differences, as a multiple of that elsewhere."""
        return self.mean_absolute / self.elsewhere if self.elsewhere > 0 else None


class KeyRecord(Stored):
    """A row whose predictions differ."""

    key: dict[str, str | None]
    """Columns that tell rows apart, and their values."""
    champion: float
    challenger: float


class RefusedRecord(Stored):
    """Rows that did not get a prediction."""

    by_champion_alone: int = 0
    by_challenger_alone: int = 0
    by_both: int = 0


class DifferenceRecord(Stored):
    """The differences of a run, or of several, summed up."""

    score: str = ""
    """The prediction column that was compared. Empty: of models of several classes, it is the
    probability of the class that the champion predicts."""
    n: int = 0
    """Rows that both models have scored."""
    n_not_compared: int = 0
    """Of these, rows without two finite scores."""
    delta: DeltaRecord | None = None
    """Null: there is no score to compare."""
    flips: FlipsRecord | None = None
    """Null: the score decides nothing."""
    classes: ClassesRecord | None = None
    """Null: there are no classes."""
    ranks: RankRecord | None = None
    n_sampled: int | None = None
    """Rows that were looked at for the groups. Fewer than were compared: they are a sample. Null:
    an older version did not store it."""
    top: tuple[TopRecord, ...] = ()
    where: GroupRecord | None = None
    """Where they differ most. Null: no column tells."""
    groups: tuple[GroupRecord, ...] = ()
    """Segments and bins that differ most from the rest, at most 20."""
    keys: tuple[KeyRecord, ...] = ()
    """The rows that differ most, at most 20."""
    refused: RefusedRecord = RefusedRecord()
    champion_cpu_s: float | None = None
    """CPU seconds of workers: reading, predicting, counting and writing. Null: not measured."""
    challenger_cpu_s: float | None = None
    """CPU seconds that the challenger took beside it, the counting of differences included."""
