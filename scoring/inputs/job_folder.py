"""Puts the folder of a job file in the place of `${NIGHTSCORE_JOB_FOLDER}`.

Paths that begin with it mean the same wherever a command is called, and move with the file.
"""

import os
import re
from pathlib import Path

JOB_FOLDER = "NIGHTSCORE_JOB_FOLDER"

_REFERENCE = re.compile(rf"\$\{{{JOB_FOLDER}\}}((?:/\.\.(?![^/]))*)")
"""The reference, and the steps up that follow it."""


def folder_of(source: str) -> str:
    """The absolute folder of a job file; empty: it is not on this machine, or there is no file."""
    path = source.removeprefix("file://")
    return "" if not path or "://" in path else os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 (`..` in it is no folder)


def expand_job_folder(text: str, folder: str) -> str:
    """The text with the folder in the place of each reference; as it is if there is no folder."""
    if not folder:
        return text

    def expanded(match: re.Match[str]) -> str:
        path = Path(folder)
        for _ in range(match[1].count("..")):
            path = path.parent
        return str(path)

    return _REFERENCE.sub(expanded, text)


def from_job_folder(path: str, folder: str) -> str:
    """A path as a job file in this folder has it: absolute, if it is not in the project.

    Args:
        path: Absolute; or a URL, which stays as it is.
        folder: The job file's, directly below that of the project.
    """
    project = Path(folder).parent
    if "://" in path or not Path(path).is_relative_to(project):
        return path

    return f"${{{JOB_FOLDER}}}/../{Path(path).relative_to(project)}"
