"""What several test processes need and one of them makes."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

from nightscore.native.machine_code import CODE_FOLDER


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder; the first process fills it, and others that want it meanwhile wait."""
    finished = folder.with_name(f"{folder.name}.finished")
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that has failed
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder


def with_machine_code(cache: Path, machine_code: Path) -> Path:
    """The folder of a cache of models, which finds kernels that another one has compiled."""
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    (cache / CODE_FOLDER).symlink_to(machine_code)
    return cache
