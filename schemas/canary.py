"""What a manifest says of a canary: readers see predictions of two models."""

from typing import Literal

from nightscore.schemas.base_record import Stored
from nightscore.schemas.text import counted

ENDS = "so the canary ends"
"""In the warning of the run whose finding stops a canary."""
STOPPED = "the canary was stopped"
"""Begins the warning of each run after that."""


class CanaryRecord(Stored):
    """The challenger whose predictions of its arm were published, and which rows that are.

    A published row is of the challenger's arm if its key's hash is below share x 2^64 (of flagd,
    2^32), and is the challenger's unless it has refused the row: `model_version` says so.
    """

    label: str
    """What commands call it: `JOB@LABEL`."""
    name: str
    """Of the registered model."""
    version: str
    digest: str
    """`sha256:` and the digest of its artifacts."""
    share: float
    """Of the keys, above 0 and up to 1."""
    salt: str
    by: tuple[str, ...]
    """Columns of the output whose values decide, in their order."""
    hash: Literal["xxh64", "flagd"] = "xxh64"
    champion_fingerprint: str = ""
    """What the run's fingerprint would be without a challenger: whether a partition must be scored
    again is decided by it, since the arms of its date stay."""
    engine: str = ""
    """What has predicted the challenger's rows: `compiled` or `library`. Empty: not known yet."""
    rows: int = 0
    """Published rows whose predictions are the challenger's."""
    rows_refused_alone: int = 0
    """Rows of its arm that it has refused and the champion has scored: published as the
    champion's."""

    @property
    def assigned(self) -> list[object]:
        """What decides the predictions, beside the champion's part."""
        by = list(self.by)
        return [self.name, self.version, self.digest, self.share, self.salt, by, self.hash]

    @property
    def arm(self) -> str:
        """Which keys are the challenger's, in one clause."""
        return (
            f"version {self.version} scored {100 * self.share:.4g} % of the keys "
            f"(by {', '.join(self.by)}, salt {self.salt})"
        )

    def __str__(self) -> str:
        """Which rows are the challenger's, in one clause."""
        if not (self.rows or self.rows_refused_alone):
            return f"{self.arm}; no row of this partition is of its arm"

        text = f"{self.arm}, {counted(self.rows, 'row')}"
        if self.rows_refused_alone:
            text += f"; {self.rows_refused_alone:,} rows that it refused are of the job's own model"
        return f"{text}; model_version says which"
