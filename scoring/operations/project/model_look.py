"""Learns what a model needs and returns; from its files alone if it cannot be loaded yet."""

from dataclasses import dataclass

from nightscore.engine.model_facts import learn_facts
from nightscore.engine.pool import Pool
from nightscore.errors import ModelDigestError, ModelError, ModelNotFoundError
from nightscore.models.cache import ModelCache
from nightscore.models.mlmodel import read_mlmodel
from nightscore.models.model_versions import fetch, resolve
from nightscore.models.pinned import PinnedModel
from nightscore.models.registries.protocol import ModelVersion
from nightscore.operations.project.records import Guess
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import Feature, ModelFacts

SHOWN_FEATURES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLook:
    """What is known of a model."""

    version: ModelVersion
    facts: ModelFacts
    is_pinned: bool
    obstacle: ModelError | None = None
    """Why a run could not load it yet. The facts are then those of its signature."""


def look_at_model(job: ScoringJob, cache: ModelCache, pool: Pool) -> ModelLook:
    """Load the model, or read its signature.

    Raises:
        ModelNotFoundError: There is no such model or registry.
        ModelDigestError: Its files are not those that it is pinned to.
    """
    try:
        model = PinnedModel.resolve(job, cache)
        facts = learn_facts(model, cache, pool)
    except (ModelNotFoundError, ModelDigestError):
        raise
    except ModelError as error:
        version = resolve(job.model, job.registry)
        cached = fetch(version, job.registry, cache)
        mlmodel = read_mlmodel(cached.path)
        flavor = next((name for name in mlmodel.flavors if name != "python_function"), "")
        stated = ModelFacts(flavor=flavor, estimator="", features=mlmodel.inputs)

        return ModelLook(version=version, facts=stated, is_pinned=cached.is_pinned, obstacle=error)

    return ModelLook(version=model.version, facts=facts, is_pinned=model.cached.is_pinned)


def model_guesses(look: ModelLook) -> list[Guess]:
    """What the model says about the job: its columns, and what it returns."""
    facts = look.facts
    kind = facts.estimator or facts.flavor or "a model"
    guesses = [Guess("model", str(look.version), kind)]

    if facts.features:
        guesses.append(Guess("features", shown_features(facts.features), "the model names them"))
    elif facts.n_features:
        reason = "the model was trained without names"
        guesses.append(Guess("features", f"{facts.n_features} by position", reason))

    guesses.append(Guess("predict", "auto", task_of(facts)))
    return guesses


def task_of(facts: ModelFacts) -> str:
    """What the model does, and which columns that gives."""
    if facts.classes and "predict_proba" in facts.methods:
        labels = ", ".join(map(str, facts.classes[:SHOWN_FEATURES]))
        n_classes = len(facts.classes)
        columns = "prediction and probability"
        if n_classes != 2:
            columns = "prediction and a probability for each class"
        return f"a classifier of {n_classes} classes ({labels}): {columns}"
    if facts.classes:
        return f"a classifier of {len(facts.classes)} classes without probabilities: prediction"
    if not facts.methods:
        return "not loaded: the columns of its predictions are not known yet"
    if facts.n_outputs > 1:
        return f"{facts.n_outputs} outputs: prediction_0 to prediction_{facts.n_outputs - 1}"
    return "one number or label for each row: prediction"


def shown_features(features: tuple[Feature, ...]) -> str:
    """The columns with their types: `age (long), ...`."""
    names = [f"{feature.name} ({feature.type})" for feature in features[:SHOWN_FEATURES]]
    if len(features) > SHOWN_FEATURES:
        names.append(f"and {len(features) - SHOWN_FEATURES} more")
    return ", ".join(names)
