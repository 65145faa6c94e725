"""Whether a file or folder can be trusted: nobody but this user may write to it."""

import os
import stat
from pathlib import Path


def is_private(folder: Path) -> bool:
    """Whether only this user can write to a folder.

    Raises:
        FileNotFoundError: There is none.
    """
    return is_owned(folder.stat())


def is_owned(status: os.stat_result) -> bool:
    """Whether a folder or file belongs to this user, and nobody else may write to it."""
    may_others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid == os.geteuid() and not may_others_write
