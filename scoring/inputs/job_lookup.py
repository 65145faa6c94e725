"""Finds the file of a job: by its name in a few folders, or by its path or URL."""

import difflib
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nightscore.errors import InvalidJobError

FOLDERS = ("jobs", "deploy/jobs")
"""Where commands and flows look up a job by its name, besides `NIGHTSCORE_JOBS` and the current
folder."""

CURRENT = Path()

SUFFIXES = (".yaml", ".yml", ".json")

SEARCHED_BYTES = 64 << 10
_JOB_KEYS = re.compile(rb'(?:^|[{,])\s*"?(model|input|output)"?\s*:', re.MULTILINE)
_LABEL = re.compile(r"[A-Za-z0-9_-]+")
"""What an alias or a version may be."""
_NEEDED_KEYS = {b"model", b"input", b"output"}


def job_folders() -> tuple[Path, ...]:
    """Where jobs are looked up by name: the folder of `NIGHTSCORE_JOBS`, `jobs`, `deploy/jobs`."""
    return (*_chosen_folder(), *map(Path, FOLDERS))


def lookup_folders() -> tuple[Path, ...]:
    """Where commands find a job by its name, and whose jobs forms and pages list."""
    return (*job_folders(), CURRENT)


def _chosen_folder() -> tuple[Path, ...]:
    named = os.environ.get("NIGHTSCORE_JOBS")
    return (_expanded(named),) if named else ()


def _check_chosen_folder() -> None:
    """A folder that somebody chose is not passed over for another one."""
    for folder in _chosen_folder():
        if not folder.is_dir():
            raise InvalidJobError(
                "The variable NIGHTSCORE_JOBS names no folder.",
                expected="one folder of this machine",
                found=str(folder),
                next_step="correct or unset the variable, or give the path of the job file",
            )


def _expanded(path: str) -> Path:
    """The path with `~` expanded; as it is where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def list_jobs(folders: Iterable[Path]) -> list[str]:
    """Names of the job files in these folders, as `find_job` takes them.

    A folder that is not there has none. In the current folder, other YAML files are no jobs.
    """
    return sorted({path.stem for path in _listed_files(folders)})


def offered_jobs(folders: Sequence[Path]) -> list[str]:
    """Names of the job files in these folders, then the absolute paths of the files."""
    paths = {str(path.absolute()) for path in _listed_files(folders)}
    return [*list_jobs(folders), *sorted(paths)]


def _listed_files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in job_files(folder):
            if folder != CURRENT or _describes_a_job(path):
                yield path


def show_folders(folders: Sequence[Path]) -> str:
    """Folders in words: `jobs, deploy/jobs and the current folder`."""
    *others, last = ["the current folder" if one == CURRENT else str(one) for one in folders]
    return f"{', '.join(others)} and {last}" if others else last


def listed_name(source: str, folders: Sequence[Path]) -> str:
    """The name by which these folders list a job; empty if they do not.

    Args:
        source: Its name, the path of its file, or its URL.
        folders: Where jobs are listed.
    """
    if is_job_name(source):
        return source if source in list_jobs(folders) else ""

    names = {path.resolve(): path.stem for folder in folders for path in job_files(folder)}
    return names.get(Path(source).resolve(), "")


def is_job_name(source: str) -> bool:
    """Whether it is a name to be looked up, rather than the path or URL of a file."""
    return not ("/" in source or source.endswith(SUFFIXES) or Path(source).is_file())


def split_label(source: str) -> tuple[str, str]:
    """The job that a text names, and the challenger of it.

    `flights@challenger` is the challenger of the job `flights`, unless there is a file of this
    name. The label is empty where the job itself is meant.
    """
    job, at, label = source.rpartition("@")
    if not (at and job and _LABEL.fullmatch(label)):
        return source, ""

    paths = [Path(f"{source}{suffix}") for suffix in SUFFIXES]
    if "/" not in source:
        paths = [folder / path for folder in lookup_folders() for path in paths]

    is_file = Path(source).is_file() or any(path.is_file() for path in paths)
    return (source, "") if is_file else (job, label)


def find_job(source: str, folders: Sequence[Path] | None = None) -> str:
    """The path or URL of a job's file.

    Args:
        source: The path or URL itself, which need not exist, or the name of a file in one of the
            folders. With `@LABEL` behind it, a challenger of the job, whose file is the same.
        folders: Where to look a name up. None: `job_folders()` and the current folder.

    Raises:
        InvalidJobError: No folder has a file of this name, or there are several; or the variable
            `NIGHTSCORE_JOBS` names no folder.
    """
    source, _ = split_label(source)

    if not is_job_name(source):
        return str(_expanded(source)) if source.startswith("~") else source

    if folders is None:
        _check_chosen_folder()
        folders = lookup_folders()

    files = [folder / f"{source}{suffix}" for folder in folders for suffix in SUFFIXES]
    # Two ways to the same file are no two jobs.
    found = {path.resolve(): path for path in reversed(files) if path.is_file()}

    if len(found) > 1:
        raise _ambiguous(source, sorted(map(str, found.values())))
    if not found:
        raise _unknown(source, folders)
    return str(*found.values())


def near_files(source: str) -> list[str]:
    """Job files like a path that does not exist, the most similar first.

    They are beside it; for the name of a file alone, also where jobs are looked up.
    """
    path = Path(source)
    folders = (path.parent,) if "/" in source else (path.parent, *job_folders())

    files = {other.name: other for folder in folders for other in job_files(folder)}
    near = difflib.get_close_matches(path.name, files, n=3, cutoff=0.5)
    return [str(files[name]) for name in near]


def other_spelling(path: str) -> str | None:
    """The same path with the other spelling of `.yaml`, if only that exists."""
    stem, suffix = posixpath.splitext(path)
    others = {".yml": ".yaml", ".yaml": ".yml"}

    if "://" in path or suffix not in others or Path(path).exists():
        return None
    other = stem + others[suffix]
    return other if Path(other).is_file() else None


def job_files(folder: Path) -> Iterator[Path]:
    """The files of a folder that are named as job files are. None if it is not there."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield path


def _describes_a_job(path: Path) -> bool:
    """Whether a file has the keys of a job. It is searched for them, not parsed."""
    try:
        with path.open("rb") as file:
            return set(_JOB_KEYS.findall(file.read(SEARCHED_BYTES))) >= _NEEDED_KEYS
    except OSError:
        return False


def _ambiguous(name: str, paths: Sequence[str]) -> InvalidJobError:
    return InvalidJobError(
        f"There are {len(paths)} job files of the name {name}; none was read.",
        expected="one file of this name, or the path of one",
        problems=paths,
        next_step=f"give the path of the one that you mean, such as {paths[0]}, or rename one",
    )


def _unknown(name: str, folders: Sequence[Path]) -> InvalidJobError:
    known = list_jobs(folders)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    places = [f"./{name}.yaml" if folder == CURRENT else str(folder) for folder in folders]

    return InvalidJobError(
        f"There is no job {name}.",
        ", ".join(dict.fromkeys(places)),
        expected=f"one of {', '.join(known)}" if known else "a folder with job files",
        found="no such file" + (f"; near: {', '.join(near)}" if near else ""),
        next_step="give one of the names, the path of a job file, "
        "or another folder in NIGHTSCORE_JOBS",
    )
