"""What MLflow's registry says in a webhook."""

import json
from dataclasses import dataclass
from typing import Any, Literal

MAX_NAME = 500
"""Characters of a name. MLflow's own are shorter."""
_KINDS: dict[tuple[Any, Any], Literal["alias_moved", "version_created"]] = {
    ("model_version_alias", "created"): "alias_moved",  # also where it meant another version
    ("model_version", "created"): "version_created",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryEvent:
    """Something that has happened to a registered model."""

    delivery: str
    """Id of the webhook's delivery."""
    kind: Literal["alias_moved", "version_created"]
    model: str
    version: str
    """What the alias means from now on, or what was created."""
    alias: str = ""
    """Empty: a version was created."""

    @property
    def uri(self) -> str:
        """The version, as a job file calls it."""
        return f"models:/{self.model}/{self.version}"

    @property
    def is_sample(self) -> bool:
        """Whether it is what MLflow sends for a trial of a webhook: about no model of anybody's."""
        return self.model == "example_model"


def read_event(body: bytes, delivery: str) -> RegistryEvent | None:
    """What a body says. None: something that concerns no job, such as a tag.

    Args:
        body: As MLflow sends it: JSON with `entity`, `action` and `data`.
        delivery: Id of the delivery.

    Raises:
        ValueError: It is no such JSON.
    """
    try:
        document = json.loads(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error

    if not isinstance(document, dict):
        raise ValueError("no object")

    kind = _KINDS.get((str(document.get("entity")), str(document.get("action"))))
    if kind is None:
        return None

    data = document.get("data")
    if not isinstance(data, dict):
        raise ValueError("no data")

    return RegistryEvent(
        delivery=delivery,
        kind=kind,
        model=_name(data, "name"),
        version=_name(data, "version"),
        alias=_name(data, "alias") if kind == "alias_moved" else "",
    )


def _name(data: dict[str, Any], field: str) -> str:
    value = data.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"no {field}")
    return value
