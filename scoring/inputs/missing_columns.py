"""Says which needed columns a file lacks, or has more than once."""

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa

from nightscore.inputs.schema_groups import SchemaGroup


def missing_column(name: str, role: str, schema: pa.Schema) -> str:
    """The problem, with the nearest name that the file has."""
    near = difflib.get_close_matches(name, schema.names, n=1, cutoff=0.6)
    hint = f"; the file has {near[0]}" if near else ""
    return f"{name}: is missing ({role}){hint}"


def ambiguous_columns(group: SchemaGroup, needed: Sequence[str]) -> Iterator[str]:
    """Needed names that several columns of a file have: nobody can say which is meant."""
    counts = Counter(group.schema.names)
    path = group.footers[0].file.path if group.footers else "the file"
    for name in dict.fromkeys(needed):
        if counts[name] > 1:
            yield f"{name}: {path} has {counts[name]} columns of this name"
