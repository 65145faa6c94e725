"""The distinct schemas of a partition's files. Each is checked once, however many files have it."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from nightscore.inputs.footers import Footer


def count_columns(schema: pa.Schema, name: str) -> int:
    """Columns of this name. `schema.names` would be made anew for each name of thousands."""
    return len(schema.get_all_field_indices(name))


@dataclass(frozen=True, slots=True)
class SchemaGroup:
    """Files that have one schema."""

    schema: pa.Schema
    """With the columns that folders give."""
    footers: Sequence[Footer] = ()
    """Of these files; none: the schema is borrowed from a file of another partition."""

    def type_of(self, name: str) -> pa.DataType | None:
        """The type of a column; None: there is no column, or more than one, of this name."""
        index = self.schema.get_field_index(name)
        if index >= 0:
            return self.schema.field(index).type
        return None

    def count(self, name: str) -> int:
        """Columns of this name."""
        return count_columns(self.schema, name)

    def is_from_folder(self, name: str) -> bool:
        """Whether the column is given by the files' folders, as text."""
        return bool(self.footers) and not count_columns(self.footers[0].schema, name)

    def locate(self, problem: str, n_files: int) -> str:
        """The problem, with the files that have it."""
        if not self.footers or n_files == 1:
            return problem
        first = self.footers[0].file.path
        return f"{problem} ({len(self.footers)} of {n_files} files, first {first})"


def group_schemas(footers: Sequence[Footer], borrowed: pa.Schema | None) -> list[SchemaGroup]:
    """The files by their schema; without any file, one group of the borrowed schema."""
    members: dict[str, list[Footer]] = {}
    # Footers that were read together share equal schemas: each is written out once.
    texts: dict[int, str] = {}
    for footer in footers:
        if id(footer.schema) not in texts:
            texts[id(footer.schema)] = str(footer.schema)
        keys = [key for key, _ in footer.file.hive]
        members.setdefault(f"{texts[id(footer.schema)]}|{keys}", []).append(footer)

    if not members and borrowed is not None:
        return [SchemaGroup(borrowed)]

    return [SchemaGroup(_with_folders(group[0]), group) for group in members.values()]


def _with_folders(footer: Footer) -> pa.Schema:
    """The file's schema and the columns that its folders give. The file's own columns go first."""
    schema = footer.schema
    for key, _ in footer.file.hive:
        if not count_columns(schema, key):
            schema = schema.append(pa.field(key, pa.string()))
    return schema
