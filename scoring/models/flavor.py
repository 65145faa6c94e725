"""What a model flavor declares: how its models are recognised, loaded and called."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightscore.models.loading_steps import LoadingStep
from nightscore.models.mlmodel import MlModel
from nightscore.models.protocol import Predictor
from nightscore.schemas.model import ModelFacts

if TYPE_CHECKING:
    from nightscore.models.compiled.flat import CompiledForm


def _never(facts: ModelFacts) -> bool:
    return False


def _no_types(mlmodel: MlModel) -> list[str]:
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """One kind of models.

    A module of `models/flavors/` declares it as `FLAVOR`. Nothing else knows it by name.

    The driver imports that module to learn what loading a model would run. Libraries, and what
    checks a model's structure, are therefore imported by the functions that need them.
    """

    name: str
    """As MLflow names it in the MLmodel file. The module has the same name."""
    claims: Callable[[MlModel], bool]
    """Whether a model version whose MLmodel file names this flavor is loaded with it."""
    precedence: int = 0
    """Where several flavors claim a model, the highest one loads it."""
    loading_steps: Callable[[MlModel], Iterable[LoadingStep]]
    """Everything that loading a model would run, found without running any of it."""

    load: Callable[[MlModel], Any]
    """Loads a model from verified artifacts. It raises a `ModelError` for those that are broken."""
    inspect: Callable[[MlModel, Any], ModelFacts]
    """Describes a loaded model."""
    predictor: Callable[[Any, ModelFacts], Predictor]
    """Makes a predictor with buffers of its own, for one thread, from a loaded model."""
    compile: Callable[[Any, ModelFacts], "CompiledForm"] | None = None
    """Makes the compiled form of a loaded model. It raises `UnsupportedError` if there is none."""
    unlisted_types: Callable[[MlModel], list[str]] = _no_types
    """Types in a model's file that load only if somebody vouches for it, with their holders."""

    libraries: tuple[str, ...] = ()
    """Distributions whose versions decide what its models predict.

    They are compared with those of training, and their versions stand in the manifest.
    """
    pads_batches: bool = False
    """The last rows of a batch may be computed in another order, so batches are filled up."""
    releases_gil: Callable[[ModelFacts], bool] = _never
    """Whether the library predicts without Python's lock, so that threads may share a model."""
    takes_frames: bool = False
    """The model gets pandas frames, in which a column of integers with nulls has another type."""
    enforces_signature: bool = False
    """MLflow checks each batch against the signature, and refuses rows of other types."""
    runs_own_code: bool = False
    """Loading runs code that may reserve any amount of address space, so that is not limited."""
