"""What estimates of performance may keep, beyond counts."""

from typing import Annotated

from pydantic import BeforeValidator, Field, Strict

from nightscore.schemas.base_record import Record
from nightscore.schemas.short_forms import Accepts, read_whole

MOST_SAMPLE_ROWS = 100_000
"""Samples are held in memory, and a classifier is fitted to them."""


class Estimate(Record):
    """How performance is estimated before labels come."""

    sample_rows: Annotated[
        int,
        Strict(),
        Field(ge=0, le=MOST_SAMPLE_ROWS),
        BeforeValidator(read_whole),
        Accepts("a number of rows from 0 to 100,000, such as 2000"),
    ] = 0
    """Rows of each partition to store with their features and score, so that estimates can be
    adjusted for covariate shift. 2000 are enough. Only those of binary models are adjusted: of
    others, no rows are stored. They are chosen by a hash of their keys, and
    stored in the state folder beside the quarantine; `nightscore clean --samples-days` removes
    them. 0: none are, since such rows may be about people."""
