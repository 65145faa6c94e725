"""What a model version needs as input and returns as output."""

from typing import Literal

from nightscore.schemas.base_record import Record

FeatureType = Literal[
    "double", "float", "long", "integer", "boolean", "string", "binary", "datetime", "any"
]
"""MLflow's names of column types; `any` where the model version states none."""


class Feature(Record):
    """One column of the matrix X."""

    name: str
    type: FeatureType = "any"
    required: bool = True


class ModelFacts(Record):
    """What loading the model once has shown.

    It is stored beside the cached model, so that only workers load the model.
    """

    flavor: str
    """MLflow flavor that predicts, such as `sklearn` or `python_function`."""
    estimator: str
    """Class of the final estimator."""
    features: tuple[Feature, ...] = ()
    """The model's columns, in its order. Empty if the model was trained and logged without
    names."""
    n_features: int | None = None
    """Width of X, if the model knows it."""
    positional_types: tuple[FeatureType, ...] = ()
    """Column types by position, if the signature states no names."""
    is_named: bool = False
    """The model was trained on a data frame and is given one."""
    takes_matrix: bool = False
    """Numeric columns of several types may be given as one matrix: the estimator would build the
    same one."""
    reads_numbers: bool = False
    """What the model is given is read as one matrix of numbers first. No time can be part of it,
    unless all columns are times."""
    matrix_dtype: Literal["float64", "float32", "int64", "int32", "object"] = "float64"
    """dtype of X for a model that was trained without names. Objects are texts."""
    classes: tuple[str | int | float | bool, ...] | None = None
    """Labels of a classifier, in the order of its probabilities."""
    category_columns: tuple[str, ...] = ()
    """Columns that the model is given as pandas categories, those of `categories`, as in
    training."""
    refuses_unknown: bool = False
    """The model rejects a value of these columns that is not a category. Otherwise it is
    missing."""
    outputs: tuple[tuple[str, str], ...] = ()
    """(kind, MLflow type) of each prediction column, with the kinds of `OutputColumn`; and one
    entry for each other kind whose type is not double."""
    output_names: tuple[str, ...] = ()
    """Names of the prediction columns in the signature, in its order. Empty if it has no names."""
    predict_function: str = "predict"
    """The method that MLflow calls for the model version (`pyfunc_predict_fn`)."""
    categories: dict[str, tuple[str | int | float | bool, ...]] = {}
    """Known values of each column that an encoder was fitted on, or that a booster was trained with
    as categories. They are in the order of their codes, without missing values."""
    methods: tuple[str, ...] = ()
    """Prediction methods that the model has."""
    n_outputs: int = 1
    fallback_reason: str = ""
    """Why there is no compiled form of the model. Empty: there is one."""
    unlisted_types: tuple[str, ...] = ()
    """Types and functions in the skops file that load only if the version is pinned."""
    pads_batches: bool = False
    """Batches are padded to whole vectors, so that a prediction does not depend on the row's
    position."""
    releases_gil: bool = False
    """Threads may share one copy: the library predicts without holding Python's lock."""
    takes_frames: bool = False
    """The model is given pandas frames, where integers with nulls have another type."""
    enforces_signature: bool = False
    """MLflow checks each batch against the signature, and rejects rows of other types."""
    model_bytes: int = 0
    """Memory that one loaded copy takes."""
    trained_with: dict[str, str] = {}
    """Library versions that the model version records."""
    loaded_with: dict[str, str] = {}
    """Library versions that loaded it here."""

    @property
    def n_columns(self) -> int:
        """Number of columns that the model is given. 0: it does not say."""
        return len(self.features) or self.n_features or 0
