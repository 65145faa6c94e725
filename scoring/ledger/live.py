"""What readers see of a partition."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Live:
    """What readers see of a partition; the next publication replaces exactly this."""

    run_id: str | None
    """None if nightscore did not write it, or not all of it."""
    paths: tuple[str, ...]
    """Files of the partition, below the output's URI."""
    version: str
    """Table version or ETag when it was seen."""
