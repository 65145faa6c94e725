"""What a model version needs of its input and gives as output."""

from typing import Literal

from nightscore.schemas.record import Record

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
    """What loading the model once has shown; kept beside the cached model, so that it is loaded in workers only."""

    flavor: str
    """MLflow flavor that predicts, such as `sklearn` or `python_function`."""
    estimator: str
    """Class of the final estimator."""
    features: tuple[Feature, ...] = ()
    """In the order the model wants; empty for a model that was trained without names and logged without them."""
    n_features: int | None = None
    """Width of X where the model knows it."""
    positional_types: tuple[FeatureType, ...] = ()
    """Of the columns by their place, where the signature states no names."""
    is_named: bool = False
    """The model was trained on a data frame and is given one."""
    takes_matrix: bool = False
    """Numeric columns of several types may be given as one matrix: the estimator would make the same one."""
    matrix_dtype: Literal["float64", "float32", "int64", "int32", "object"] = "float64"
    """dtype of X for a model that was trained without names; objects are texts."""
    classes: tuple[str | int | float | bool, ...] | None = None
    category_columns: tuple[str, ...] = ()
    """Columns that the model is given as pandas' categories, those of `categories`: it was trained so."""
    refuses_unknown: bool = False
    """A value of these columns that is none of the categories is refused; else it is missing."""
    outputs: tuple[tuple[str, str], ...] = ()
    """(kind, MLflow's type) of each prediction column, kind as `OutputColumn` names it; one for each other kind whose
    type is not double."""
    output_names: tuple[str, ...] = ()
    """Of the prediction's columns in the signature, in its order; empty where it names none."""
    predict_function: str = "predict"
    """The method that MLflow calls for the model version (`pyfunc_predict_fn`)."""
    categories: dict[str, tuple[str | int | float | bool, ...]] = {}
    """Of each column that an encoder was fitted on, or that a booster was trained with as categories, the
    values that it knows, in the order of their codes; missing ones left out."""
    methods: tuple[str, ...] = ()
    """Prediction methods that the model has."""
    n_outputs: int = 1
    library_because: str = ""
    """Why there is no compiled form of it; empty: there is one."""
    unlisted_types: tuple[str, ...] = ()
    """Types and functions in its skops file that load only where somebody vouches for the version."""
    pads_batches: bool = False
    """Batches are filled up to whole vectors, so that a prediction does not depend on the row's place."""
    releases_gil: bool = False
    """Threads may share one copy: the library predicts without holding Python's lock."""
    takes_frames: bool = False
    """It gets pandas frames, in which a column of integers with nulls has another type."""
    enforces_signature: bool = False
    """MLflow checks each batch against the signature, and refuses rows of other types."""
    model_bytes: int = 0
    """Memory that one loaded copy takes."""
    trained_with: dict[str, str] = {}
    """Library versions that the model version records."""
    loaded_with: dict[str, str] = {}
    """Library versions that loaded it here."""

    @property
    def n_columns(self) -> int:
        """Of the tables that it is given; 0: it does not say."""
        return len(self.features) or self.n_features or 0
