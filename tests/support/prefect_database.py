"""An empty database of Prefect, made once: its migrations cost more than the rest of a start."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

FILE = "prefect.db"
"""Where a server on SQLite has its database, in its home."""


def make_database(folder: Path) -> Path:
    """The database of the installed version of Prefect. It stays in the folder for later runs."""
    database = folder / f"prefect-{version('prefect')}.db"
    if database.exists():
        return database

    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        new = Path(temporary) / FILE
        subprocess.run(
            [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
            env=os.environ | {"PREFECT_HOME": temporary, "PREFECT_PROFILES_PATH": "/dev/null"},
            check=True,
            capture_output=True,
        )
        connection = sqlite3.connect(new)
        connection.execute("pragma wal_checkpoint(truncate)")
        connection.close()
        # Two processes may make it at once: either one is whole.
        new.replace(database)

    return database


def place_database(database: Path, home: Path) -> None:
    """Copy it to where a server looks for it."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(database, home / FILE)
