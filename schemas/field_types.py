"""Types of fields that several sections of a job file have."""

from typing import Annotated

from pydantic import BeforeValidator, Field, JsonValue

from nightscore.schemas.gates import ColumnName
from nightscore.schemas.short_forms import Accepts, read_names

StorageOptions = Annotated[
    dict[str, JsonValue],
    Field(default_factory=dict, repr=False),
    Accepts("a mapping of option names to values"),
]
Location = Annotated[str, Accepts("a path or a URL")]
ColumnNames = Annotated[
    tuple[ColumnName, ...],
    BeforeValidator(read_names, json_schema_input_type=ColumnName | list[ColumnName]),
    Accepts("a list of column names, such as [origin, dest], or one name"),
]
