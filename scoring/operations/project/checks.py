"""Refuses what a project cannot begin with, before anything is written."""

import json
import os
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from nightscore.errors import InputError, InvalidJobError
from nightscore.inputs.casts import plain_type
from nightscore.inputs.files import shown
from nightscore.inputs.footers import Footer
from nightscore.inputs.job_references import expand_references
from nightscore.models.registries.uris import redacted
from nightscore.operations.project.records import Layout, Wish
from nightscore.schemas.text import counted, is_utf8
from nightscore.schemas.uri import check_uri

SHOWN_ENTRIES = 5
DATE_COLUMNS = ("ds", "dt", "date", "day")
"""Names of columns that say which day a row belongs to. Other dates are facts about the row."""
CREDENTIALS = "carries credentials"


def check_wish(wish: Wish) -> Wish:
    """The same wish, with `~` and `${NAME}` in the place of the data replaced.

    Raises:
        InvalidJobError: A path cannot be written into a job file.
    """
    expanded, problems = expand_references({"input": {"uri": wish.data}})
    data = expanded["input"]["uri"]
    texts = [f"--data: {problem.text}" for problem in problems]

    if wish.data and not problems:
        texts += _data_problems(data)
    texts += _name_problems(wish)
    if not texts:
        return replace(wish, data=data)

    next_step = "correct them, and run the command again"
    if any(CREDENTIALS in text for text in texts):
        next_step = (
            "leave the credentials out of the URL, and set the store's own environment variables, "
            "such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3"
        )

    raise InvalidJobError(
        "The project cannot be begun with these names; nothing was written.",
        expected="names that a job file can have",
        problems=texts,
        next_step=next_step,
    )


def _data_problems(data: str) -> Iterator[str]:
    """Why a job file cannot have the place of the data."""
    if not is_utf8(data):
        yield f"--data {shown(data)}: the name is not UTF-8"
    try:
        check_uri(data)
    except ValueError as error:
        reason = str(error).partition(";")[0]
        yield f"--data {redacted(data)}: {reason}"


def _name_problems(wish: Wish) -> Iterator[str]:
    """Why a job file cannot have the project's folder, or the name of the job."""
    folder = str(wish.folder.absolute())
    if "${" in folder:
        yield f"{shown(folder)}: a job file would take ${{...}} for an environment variable"
    if not is_utf8(folder):
        yield f"{shown(folder)}: the name is not UTF-8"
    if wish.name and not job_name(wish.name):
        yield f"--name {shown(wish.name)}: has no letter or digit"


def job_name(text: str) -> str:
    """The text as a job may be called; empty: nothing is left of it."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.-")[:100]


def check_folders(folder: Path) -> None:
    """Refuse to write a project where no folder can be.

    Raises:
        InvalidJobError: What is in the way is named.
    """
    problems = []
    for needed in (folder, folder / "jobs", folder / "schemas", folder / "data"):
        if os.path.lexists(needed) and not needed.is_dir():
            problems.append(f"{needed} is no folder")

    if problems:
        raise InvalidJobError(
            "The folders of the project cannot be made; nothing was written.",
            str(folder),
            expected="folders, or nothing of their names",
            problems=problems,
            next_step="give another folder, `nightscore init DIR ...`, or move them",
        )


def check_links(layout: Layout) -> None:
    """Refuse to link files into a folder that has others: rows would count twice.

    Raises:
        InvalidJobError: The folder is not empty.
    """
    target = Path(layout.uri)
    if not layout.links or not os.path.lexists(target):
        return

    entries = sorted(path.name for path in target.iterdir()) if target.is_dir() else ["a file"]
    if not entries:
        return

    raise InvalidJobError(
        "The folder of the job's data has files already; nothing was written.",
        layout.uri,
        expected="no such folder: files that are linked into it would be mixed with its own",
        found=", ".join(entries[:SHOWN_ENTRIES]),
        next_step=f"use these data, --data {shlex.quote(layout.uri)}; or give another --name, or "
        "move the folder away",
    )


def check_rows_undated(
    layout: Layout, footers: Sequence[Footer], features: Collection[str]
) -> None:
    """Refuse data whose rows have dates of their own, which their partition would contradict.

    Args:
        layout: Of the data.
        footers: Of the newest partition.
        features: Columns of the model, which are facts about a row.

    Raises:
        InputError: With a command that makes partitions of the dates.
    """
    schema = footers[0].schema if footers and not layout.is_dated else pa.schema([])
    columns = []
    for field in schema:
        is_named = field.name.lower() in DATE_COLUMNS and field.name not in features
        if is_named and _may_be_date(plain_type(field.type)):
            columns.append(field.name)

    if not columns:
        return

    column, source = columns[0], layout.store.url
    if not layout.is_table and len(layout.sample) == 1:
        source = layout.store.locate_url(layout.sample[0].path)

    code = _partitioning(layout, source, column, schema.field(column).type)
    next_step = (
        f"write partitions, python -c {shlex.quote(code)}; then give --data "
        f"{shlex.quote(layout.uri)}"
    )
    if not layout.is_table:
        next_step += "; or, if all rows are of one day, put its date into the name of the file"

    raise InputError(
        f"The data have a date in each row, in the column {column}, and no partitions; "
        "nothing was written.",
        source,
        expected=f"a folder {column}=2026-11-24/ for each date",
        found=f"{counted(len(layout.sample), 'file')} with a column {column}",
        next_step=next_step,
    )


def _partitioning(layout: Layout, source: str, column: str, found: pa.DataType) -> str:
    """Python code that writes a folder for each date."""
    source, target, name = json.dumps(source), json.dumps(layout.uri), json.dumps(column)
    table = f'pyarrow.dataset.dataset({source}, format="parquet").to_table()'
    if layout.is_table:
        table = f"deltalake.DeltaTable({source}).to_pyarrow_table()"

    code = f"import deltalake, pyarrow.dataset; t = {table}; "
    if pa.types.is_timestamp(found):
        position = f"t.schema.get_field_index({name})"
        code += f't = t.set_column({position}, {name}, t[{name}].cast("date32")); '

    return code + (
        f'pyarrow.dataset.write_dataset(t, {target}, format="parquet", partitioning=[{name}], '
        'partitioning_flavor="hive")'
    )


def _may_be_date(plain: pa.DataType) -> bool:
    return bool(
        pa.types.is_date(plain) or pa.types.is_timestamp(plain) or pa.types.is_string(plain)
    )
