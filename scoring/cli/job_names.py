"""Finds job files by what was typed, without reading them: for corrections and completion."""

from pathlib import Path

from nightscore.inputs.job_lookup import (
    SUFFIXES,
    is_job_name,
    job_folders,
    list_jobs,
    lookup_folders,
    near_files,
    split_label,
)


def is_job(text: str) -> bool:
    """Whether there is such a job file; a URL is taken for one."""
    if "://" in text:
        return True

    text, _ = split_label(text)
    if not is_job_name(text):
        return _is_file(Path(text).expanduser())

    files = (folder / f"{text}{end}" for folder in lookup_folders() for end in SUFFIXES)
    return any(map(_is_file, files))


def is_like_a_job(text: str) -> bool:
    """Whether a text names a job, even if there is no such file."""
    return text.endswith(SUFFIXES) or is_job(text)


def other_suffix(text: str) -> str | None:
    """The same file with another suffix, if only that exists: `job.yaml` for `job.yml`."""
    path = Path(text)
    if path.suffix not in SUFFIXES or is_job(text):
        return None

    for suffix in SUFFIXES:
        other = text.removesuffix(path.suffix) + suffix
        if _is_file(Path(other).expanduser()):
            return other

    return None


def near_jobs(text: str) -> list[str]:
    """Job files and names of jobs that look like a text, the nearest first."""
    if not is_job_name(text):
        return near_files(text)

    import difflib  # only where a name is wrong

    return difflib.get_close_matches(text, list_jobs(lookup_folders()), n=3, cutoff=0.6)


def complete_jobs(incomplete: str) -> list[str]:
    """What a shell offers for a job: names, and job files below the folder that is typed."""
    folder = Path(incomplete).parent
    if incomplete.endswith("/"):
        folder = Path(incomplete)

    names = {*list_jobs(job_folders()), *_job_files(folder)}
    return sorted(text for text in names if text.startswith(incomplete))


def _job_files(folder: Path) -> list[str]:
    try:
        return [str(path) for path in folder.iterdir() if path.suffix in SUFFIXES]
    except OSError:
        return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
