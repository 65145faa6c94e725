"""How new versions of a job's model go live."""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, field_validator

from nightscore.schemas.base_record import Record
from nightscore.schemas.field_types import Location
from nightscore.schemas.gates import PositiveNumber
from nightscore.schemas.model_uri import LABELLED_FORMS, MODEL_URI, label_of
from nightscore.schemas.problem import Problem
from nightscore.schemas.short_forms import Accepts, read_names
from nightscore.schemas.uri import check_uri

ModelUri = Annotated[str, Accepts(LABELLED_FORMS)]


class Release(Record):
    """How new versions of the job's model go live.

    With this section, each run notes in the release log when somebody has moved the alias by other
    means. Without it, runs do so from the first `nightscore promote` on.
    """

    log: Location | None = None
    """Folder of the release log. Name it where several jobs share one model, so that they share one
    log. It is read and written with `output.storage_options`. Each model and alias has a folder of
    its own in it. null: `<output.uri>.nightscore/releases`."""

    @field_validator("log")
    @classmethod
    def _has_no_secret(cls, log: str | None) -> str | None:
        return None if log is None else check_uri(log).rstrip("/")

    challenger: Annotated[
        tuple[ModelUri, ...],
        BeforeValidator(read_names, json_schema_input_type=ModelUri | list[ModelUri]),
        Accepts(f"{LABELLED_FORMS}, or a list of them"),
    ] = ()
    """Versions that score beside the job's model, such as `models:/flight_delay@challenger`: one,
    or a list. Each is called by its alias, or else by its version: `JOB@challenger` names it in
    commands."""
    mode: Literal["shadow"] = "shadow"
    """`shadow`: each challenger scores all rows in the same pass. Its predictions go to a table of
    its own, `<output.uri>.challengers/<alias or version>`, and readers of the job's output see
    nothing of them."""
    max_overhead: PositiveNumber = 1.0
    """A challenger that takes longer to predict than this many times the job's own model is ended.
    The job's predictions are published as always."""

    @property
    def labels(self) -> dict[str, str]:
        """Each challenger's URI by its label."""
        return {label_of(uri): uri for uri in self.challenger}

    @field_validator("challenger")
    @classmethod
    def _are_versions(cls, uris: tuple[str, ...]) -> tuple[str, ...]:
        for uri in uris:
            match = MODEL_URI.fullmatch(uri)
            if match is None or match["logged"]:
                raise ValueError(f"expected {LABELLED_FORMS}")
        return uris


def challenger_problems(release: Release, model: str) -> Iterator[Problem]:
    """What is wrong with a job's challengers.

    Args:
        release: The section.
        model: The job's own model.
    """
    path = ("release", "challenger")
    if model in release.challenger:
        yield Problem(
            path,
            f"{model} is the job's own model; name another version or alias of it",
            (("model",),),
        )

    counts = Counter(label_of(uri) for uri in release.challenger)

    for label, n_times in counts.items():
        if n_times > 1:
            same = [uri for uri in release.challenger if label_of(uri) == label]

            yield Problem(
                path,
                f"{n_times} challengers are called {label}: {', '.join(same)}; each has a table of "
                "this name, so remove one, or give one another alias",
            )
