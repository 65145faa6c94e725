"""Loads a model in a worker to say what it is: the driver never unpickles anything itself."""

from pathlib import Path

from nightscore.models.flavor_catalog import flavor_of
from nightscore.models.loading import inspect_model, unlisted_types
from nightscore.models.mlmodel import read_mlmodel
from nightscore.process import available_bytes, limited_address_space
from nightscore.schemas.model import ModelFacts

MIN_MODEL_BYTES = 4 << 30
"""Libraries reserve more address space than they use."""


def inspect(model_folder: Path, is_vouched: bool) -> ModelFacts:
    """Load a model once and say what it is."""
    if is_vouched or flavor_of(read_mlmodel(model_folder)).runs_own_code:
        # Its code may reserve what it likes.
        return inspect_model(model_folder, is_vouched=is_vouched)
    with limited_address_space(_model_bytes()):
        return inspect_model(model_folder)


def list_types(model_folder: Path) -> list[str]:
    """See `unlisted_types`; its memory is limited."""
    with limited_address_space(_model_bytes()):
        return unlisted_types(model_folder)


def _model_bytes() -> int:
    """Address space for a model and its libraries: a file's few bytes can decode to very many."""
    return max(available_bytes(), MIN_MODEL_BYTES)
