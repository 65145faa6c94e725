"""Where the compiled code is kept: in a private folder, since whoever can write there can run code here."""

import os
import stat
from pathlib import Path
from types import ModuleType

CODE_FOLDER = "machine-code"
"""Beside the cached models."""


def has_machine_code(cache: Path) -> bool:
    """Whether some process of this host has compiled already."""
    return any((cache / CODE_FOLDER).rglob("*.nbc"))


def load_kernels(folder: Path) -> ModuleType:
    """The kernels, compiled now or by an earlier process of this host; the first call of a process decides where.

    Numba keeps machine code by the CPU's name and features and by the source's time stamp, writes it atomically, and
    compiles again what does not fit.

    Raises:
        PermissionError: Others can write to the folder.
    """
    import numba

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not is_private(folder):
        raise PermissionError(f"{folder} holds machine code, and others can write to it: remove it")
    numba.config.CACHE_DIR = str(folder)
    from scoring.models.compiled import kernels

    return kernels


def is_private(folder: Path) -> bool:
    """Whether only this user can write to it."""
    found = folder.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
