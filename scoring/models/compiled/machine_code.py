"""Where the compiled code is kept: in a private folder, since whoever can write there can run code here."""

import os
import stat
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from scoring.models.compiled.columns import read_only
from scoring.models.compiled.count_buffers import CountBuffers
from scoring.models.compiled.layout import edge_tree

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

    _compile_counts(kernels)
    return kernels


def _compile_counts(kernels: ModuleType) -> None:
    """What profiles use: compiled before the address space is limited."""
    buffers = CountBuffers.of(1, np.empty(0, np.uint64))
    values, bits = read_only(np.zeros(1)), read_only(np.zeros(1, np.uint8))
    kernels.count_numbers(values, bits, -1, *edge_tree(np.empty(0)), 0.0, 0.0, 0.0, *buffers.arguments)


def loaded_kernels() -> ModuleType | None:
    """The kernels, if this process has loaded them: who can do without does not load them."""
    return sys.modules.get("scoring.models.compiled.kernels")


def is_private(folder: Path) -> bool:
    """Whether only this user can write to it."""
    found = folder.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
