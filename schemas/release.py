"""How new versions of a job's model go live."""

from pydantic import field_validator

from nightscore.schemas.base_record import Record
from nightscore.schemas.field_types import Location
from nightscore.schemas.uri import check_uri


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
