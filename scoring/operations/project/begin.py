"""Begins a project: looks at a model and data, and writes files that work at once."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightscore.engine.pool import Pool
from nightscore.engine.worker_backend_catalog import open_pool
from nightscore.errors import ContractError, CredentialsError, InvalidJobError
from nightscore.inputs.footers import Footer, read_footers
from nightscore.inputs.jobfile import parse_job
from nightscore.inputs.validate import check_contract
from nightscore.models.cache import ModelCache
from nightscore.models.model_versions import resolve
from nightscore.models.registries.uris import (
    DEFAULT_REGISTRY,
    SQLITE,
    absolute_uri,
    redacted,
    registry_uri,
)
from nightscore.operations.project.checks import (
    check_folders,
    check_links,
    check_rows_undated,
    check_wish,
    job_name,
)
from nightscore.operations.project.existing import (
    check_same_job,
    kept_notes,
    without_present_links,
)
from nightscore.operations.project.features import guess_features
from nightscore.operations.project.keys import guess_keys, pandas_indexes
from nightscore.operations.project.layout import find_layout
from nightscore.operations.project.model_look import ModelLook, look_at_model, model_guesses
from nightscore.operations.project.records import Guess, Layout, Link, Wish
from nightscore.operations.project.templates import (
    IGNORED,
    constraints_text,
    job_text,
    prefect_text,
    readme_text,
    schema_text,
)
from nightscore.schemas.job import ScoringJob, Workers
from nightscore.schemas.partition import show_value
from nightscore.schemas.uri import contain_each_other
from nightscore.storage.errors import translated_errors

PLACEHOLDER_VALUE = "2026-11-24"
"""Shown where no data are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What was begun."""

    folder: Path
    name: str
    job_file: str
    """Below the folder."""
    files: tuple[str, ...]
    """Those that were written, below the folder, in the order in which to read them."""
    kept: tuple[str, ...]
    """Those that were there, and are as they were."""
    partition: str
    """The newest one; empty: no data are known."""
    guesses: tuple[Guess, ...]
    obstacles: tuple[str, ...]
    """What must be done before a run, a paragraph each."""
    notes: tuple[str, ...]
    """What the files that were there do not have, a sentence each."""


@dataclass(slots=True)
class _Known:
    """What is known of the job so far."""

    job: dict[str, Any]
    guesses: list[Guess] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    layout: Layout | None = None
    look: ModelLook | None = None


def begin_project(
    wish: Wish,
    cache: ModelCache,
    open_workers: Callable[[Workers], AbstractContextManager[Pool]] = open_pool,
) -> Project:
    """Write the files of a project, or those that it lacks. Nothing is overwritten.

    Nothing is written after an error. Where there is a project, its job is a further one, and the
    other files stay as they are. The same call again finds all as it is.

    Args:
        wish: What is known.
        cache: Models of this host.
        open_workers: Opens the pool that loads the model and reads data.

    Raises:
        InvalidJobError: There is a job file of this name that says something else.
        ModelError: There is no such model.
        InputError: The data are no Parquet, or empty.
        ContractError: The data lack columns of the model. All of them are named.
    """
    wish = check_wish(wish)
    name, name_guess = _name(wish)
    check_folders(wish.folder)
    root = wish.folder.absolute()
    known = _Known(_draft(wish, name, root), [name_guess])
    if wish.data:
        _look_at_data(known, wish, root)

    known.obstacles += _unsaid(wish, known.job)
    with open_workers(Workers()) as pool:
        if wish.model:
            _look_at_model(known, cache, pool)
        if known.layout is not None:
            _look_at_columns(known, known.layout, pool)

    return _write(known, name, root)


def _name(wish: Wish) -> tuple[str, Guess]:
    """The job's name.

    Raises:
        ModelNotFoundError: The model has to be asked, and there is none.
    """
    model = ""
    if wish.model and not wish.name:
        model = resolve(wish.model, wish.registry).name

    data = Path(wish.data.rstrip("/")).name.split(".")[0] if "=" not in wish.data else ""
    sources = (
        (wish.name, "as you said"),
        (model, "as the model is called"),
        (data, "as the data are called"),
        (wish.folder.absolute().name, "as the folder is called"),
    )

    for text, reason in sources:
        name = job_name(text)
        if name:
            if text == wish.name != name:
                reason = f"{text!r} as a job may be called"
            return name, Guess("name", name, reason)
    return "scoring", Guess("name", "scoring", "nothing has a name")


def _draft(wish: Wish, name: str, root: Path) -> dict[str, Any]:
    """The job before anything was looked at."""
    return {
        "name": name,
        "model": wish.model or f"models:/{name}@champion",
        "registry": _registry(wish, root),
        "input": {"uri": str(root / "data" / name), "partition_key": "ds"},
        "output": {"uri": str(root / "predictions" / name), "format": "delta"},
    }


def _registry(wish: Wish, root: Path) -> str | None:
    """The registry's URI, with an absolute path: runs may start in another folder.

    None: the environment names one with credentials.
    """
    uri = registry_uri(wish.registry)
    if not wish.registry and redacted(uri) != uri:
        return None
    if uri == DEFAULT_REGISTRY and not wish.model:
        return f"{SQLITE}{root}/mlflow.db"
    return absolute_uri(uri)


def _unsaid(wish: Wish, job: Mapping[str, Any]) -> Iterator[str]:
    """What the job file cannot have yet."""
    if not wish.model:
        yield f"There is no model yet: name it in the job file, in place of {job['model']}."
    if not wish.data:
        folder = f"{job['input']['uri']}/ds={PLACEHOLDER_VALUE}/"
        yield f"There are no data yet: write Parquet files to folders such as {folder}."


def _look_at_data(known: _Known, wish: Wish, root: Path) -> None:
    """Find the partitions.

    Raises:
        InvalidJobError: The project is inside of the data.
        InputError: There is no Parquet.
    """
    try:
        layout = find_layout(wish.data, Path(known.job["input"]["uri"]))
    except CredentialsError as error:
        if "://" not in wish.data:
            error.next_step = "correct the permissions of the path, or run as another user"
            raise
        error.next_step = (
            "set the store's own environment variables, such as AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY for S3, then run the command again"
        )
        raise

    if contain_each_other(layout.uri, known.job["output"]["uri"]):
        raise InvalidJobError(
            "The project would be inside of its data; nothing was written.",
            str(root),
            expected="a folder beside the data",
            found=f"data in {layout.uri}",
            next_step="give a folder outside of the data: nightscore init DIR --data ...",
        )

    layout = without_present_links(layout)
    check_links(layout)
    known.layout = layout
    known.guesses += layout.guesses
    known.job["input"] = {
        "uri": layout.uri,
        "partition_key": layout.key,
        "partition_format": layout.pattern,
    }


def _look_at_model(known: _Known, cache: ModelCache, pool: Pool) -> None:
    """Learn the model's columns.

    Raises:
        ModelError: There is no such model.
    """
    look = look_at_model(_parsed(known.job), cache, pool)
    known.look = look
    known.guesses += model_guesses(look)
    if look.obstacle is not None:
        known.obstacles.append(f"The model cannot be used yet. {look.obstacle}")


def _parsed(job: Mapping[str, Any]) -> ScoringJob:
    return parse_job(dict(job))


def _look_at_columns(known: _Known, layout: Layout, pool: Pool) -> None:
    """Guess the keys, and compare the newest partition with the model.

    Raises:
        ContractError: It lacks columns of the model.
        CorruptFileError: Some files are no readable Parquet.
    """
    footers = read_footers(layout.store, layout.sample)
    facts = known.look.facts if known.look is not None else None
    names = [feature.name for feature in facts.features] if facts is not None else []

    check_rows_undated(layout, footers, names)

    keys, guess = guess_keys(layout, footers, names, pool)
    known.guesses.append(guess)
    if keys:
        known.job["keys"] = keys

    if facts is None:
        return

    columns = footers[0].schema if footers else None
    if not facts.features and facts.n_features and columns is not None:
        set_apart = {layout.key, *keys, *pandas_indexes(footers)}
        features, guess = guess_features(columns, facts.n_features, set_apart)
        known.guesses.append(guess)
        if features:
            known.job["features"] = features

    _compare(known, footers)


def _compare(known: _Known, footers: Sequence[Footer]) -> None:
    """Compare the columns with the model.

    Raises:
        ContractError: Columns that the model names are missing, or have other types.
    """
    assert known.look is not None  # noqa: S101
    try:
        check_contract(_parsed(known.job), known.look.facts, footers)
    except ContractError as error:
        if known.look.facts.features:
            error.next_step = (
                "give --data that have these columns; or leave --data out, and correct input.uri "
                "in the job file later"
            )
            raise
        known.obstacles.append(str(error))


def _write(known: _Known, name: str, root: Path) -> Project:
    """Write all files that are not there, or none.

    Raises:
        InvalidJobError: There is a job file of this name that says something else.
    """
    job_file = f"jobs/{name}.yaml"
    partition = show_value(known.layout.newest) if known.layout is not None else ""
    install = "nightscore"
    if known.look is not None and known.look.facts.flavor in ("lightgbm", "xgboost", "onnx"):
        install = f"'nightscore[{known.look.facts.flavor}]'"

    texts = {
        job_file: job_text(known.job, known.guesses, root / job_file),
        "README.md": readme_text(name, job_file, partition or PLACEHOLDER_VALUE, install),
        "prefect.yaml": prefect_text(name),
        "constraints.txt": constraints_text(),
        "schemas/job.schema.json": schema_text(),
        ".gitignore": IGNORED,
    }

    check_same_job(
        root / job_file,
        _parsed(known.job),
        has_model=known.look is not None,
        has_data=known.layout is not None,
    )
    kept = [below for below in texts if os.path.lexists(root / below)]
    missing = [below for below in texts if below not in kept]
    links = known.layout.links if known.layout is not None else ()
    data = Path(known.job["input"]["uri"])

    with translated_errors(str(root)), _undone_on_error() as written:
        for below in missing:
            _write_new(root / below, texts[below], written)
        for link in links:
            _link(link, data, written)

    return Project(
        folder=root,
        name=name,
        job_file=job_file,
        files=tuple(missing),
        kept=tuple(kept),
        partition=partition,
        guesses=tuple(known.guesses),
        obstacles=tuple(known.obstacles),
        notes=tuple(kept_notes(root, name, kept)),
    )


def _write_new(path: Path, text: str, written: list[Path]) -> None:
    _make_folder(path.parent, written)
    with path.open("x", encoding="utf-8") as file:
        written.append(path)
        file.write(text)


def _link(link: Link, data: Path, written: list[Path]) -> None:
    """Give a file its place: a second name, or a copy on another file system."""
    target = data / link.target
    _make_folder(target.parent, written)
    try:
        os.link(link.source.resolve(), target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(link.source, target)
    written.append(target)


def _make_folder(folder: Path, written: list[Path]) -> None:
    """Make a folder, and note those that were not there."""
    if folder.exists():
        return

    _make_folder(folder.parent, written)
    folder.mkdir()
    written.append(folder)


@contextlib.contextmanager
def _undone_on_error() -> Iterator[list[Path]]:
    """Remove the files and folders that were written if not all could be."""
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for path in reversed(written):
            with contextlib.suppress(OSError):  # somebody has written into the folder meanwhile
                path.rmdir() if path.is_dir() else path.unlink()
        raise
