"""Where the compiled code is kept: in a private folder, since whoever can write there can run code here."""

import os
import stat
from pathlib import Path
from types import ModuleType


def load_kernels(folder: Path) -> ModuleType:
    """The kernels, compiled now or by an earlier process of this host; the first call of a process decides where.

    Numba keeps machine code by the CPU's name and features and by the source's time stamp, writes it atomically, and
    compiles again what does not fit. A folder that others could write to is not used.
    """
    import numba

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        numba.config.CACHE_DIR = str(folder)
    from scoring.models.compiled import kernels

    return kernels
