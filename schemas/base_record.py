"""The base of every record that is read from or written to a file."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen record: unknown keys are refused, and errors never repeat the input.

    The input is kept out of errors because a value may be a credential.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, ser_json_inf_nan="strings"
    )


class Stored(Record):
    """A part of a stored record. Fields that a later version of nightscore added are skipped."""

    model_config = ConfigDict(extra="ignore")
