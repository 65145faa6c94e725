"""What a run's manifest says about a challenger: a version that scored beside the job's own."""

from typing import Literal

from nightscore.schemas.base_record import Stored
from nightscore.schemas.difference import DifferenceRecord
from nightscore.schemas.model_uri import named_model
from nightscore.schemas.text import counted


class ChallengerRecord(Stored):
    """A challenger of a run, in short. Its own run has a manifest of its own, which says all."""

    label: str
    """What commands call it: `JOB@LABEL`. Its alias, or else its version."""
    uri: str
    """As the job names it."""
    name: str = ""
    """Of the registered model. Empty: it was not found."""
    version: str = ""
    digest: str = ""
    """`sha256:` and the digest of its artifacts."""
    mode: Literal["shadow", "canary"] = "shadow"
    run_id: str = ""
    """Of its own run. Empty: it has none."""
    status: Literal["published", "failed", "refused", "skipped", "unfinished"]
    """`published`: into its own table. `failed`: it was ended, or could not be published.
    `refused`: it was refused before any row. `skipped`: its version is that of the job's own model,
    as after it was promoted, so it has no run. `unfinished`: the process ended before the
    challenger's run did, or that is still under way."""
    why: str = ""
    """Why it was not published."""
    rows: int = 0
    """Rows that it scored."""
    rows_refused_alone: int = 0
    """Rows that it refused and the job's own model did not."""
    overhead_s: float = 0.0
    """CPU seconds of workers that it took beside the job's own model."""
    difference: DifferenceRecord | None = None
    """How its predictions differ. Null: not stored, as of a run of an earlier version."""

    @property
    def text(self) -> str:
        """What became of it, in a sentence."""
        name = named_model(self.name, self.version) if self.version else self.uri
        why = self.why.rstrip(".")

        if self.status == "skipped":
            return f"challenger {name} did not score: it is the job's own model now"
        if self.status == "refused":
            return f"challenger {name} did not score: {why}"
        if self.status == "failed":
            return f"challenger {name} was not published: {why}"
        if self.status == "unfinished":
            return f"challenger {name} is not published yet"

        return f"challenger {name} {self._scored}"

    @property
    def _scored(self) -> str:
        """Which rows it scored."""
        rows, is_canary = counted(self.rows, "row"), self.mode == "canary"

        if self.rows_refused_alone:
            which = "its arm" if is_canary else "the same"
            refused = f"{self.rows_refused_alone:,} that the job's own model has scored"
            return f"scored {rows} of {which}, and refused {refused}"
        if not is_canary:
            return f"scored the same {rows}"
        if not self.rows:
            return "scored no row: none of this partition is of its arm"
        return f"scored {rows} of its arm"
