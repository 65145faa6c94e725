"""A Postgres server from this machine's own binaries."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from nightscore.errors import StackError
from nightscore.flows.stack.service import Service
from nightscore.flows.stack.settings import Settings

PROGRAMS = ("initdb", "postgres", "pg_isready")
SERVICE_USERS = ("postgres", "nobody")
"""Users to run as in place of root, the first that exists."""


def can_keep_data(folder: Path) -> bool:
    """Whether a Postgres server can run here and keep its data below a folder."""
    return _programs() is not None and (os.geteuid() != 0 or _others_can_enter(folder))


def postgres(settings: Settings) -> Service:
    """The Postgres server. It refuses to run as root: root starts it as another user."""
    binaries = _find_binaries()
    user = None if os.geteuid() else next(name for name in SERVICE_USERS if _exists(name))
    data, temporary = _data_folder(settings, user)

    if not (data / "PG_VERSION").exists():
        _create_database(binaries, data, user)

    port = str(settings.postgres_port)
    is_ready = [str(binaries / "pg_isready"), "-h", "127.0.0.1", "-p", port, "-q"]

    return Service(
        name="postgres",
        url=f"postgresql://nightscore@127.0.0.1:{port}/postgres",
        command=[
            *(str(binaries / "postgres"), "-D", str(data)),
            *("-p", port, "-h", "127.0.0.1", "-k", ""),
        ],
        is_healthy=lambda: subprocess.run(is_ready, check=False).returncode == 0,
        stop_signal=signal.SIGINT,  # SIGTERM would wait until all clients have left
        user=user,
        temporary=temporary,
    )


def _data_folder(settings: Settings, user: str | None) -> tuple[Path, tuple[Path, ...]]:
    """The folder of the data, and what of it to remove at the end."""
    if user is None or _others_can_enter(settings.folder):
        return settings.folder / "postgres", ()

    # Another user cannot enter a folder below, say, /root.
    data = Path(tempfile.mkdtemp(prefix="nightscore-postgres-"))
    return data, (data,)


def _others_can_enter(folder: Path) -> bool:
    """Whether other users may enter a folder that will be made here."""
    existing = [parent for parent in folder.absolute().parents if parent.exists()]
    return all(parent.stat().st_mode & 0o001 for parent in existing)


def _create_database(binaries: Path, data: Path, user: str | None) -> None:
    data.mkdir(parents=True, exist_ok=True)

    if user:
        shutil.chown(data, user)

    command = [str(binaries / "initdb"), "-D", str(data), "-U", "nightscore", "-A", "trust"]
    done = subprocess.run(
        [*command, "-E", "UTF8", "--locale=C", "--no-sync"],
        user=user,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )

    if done.returncode:
        raise StackError(
            "Postgres could not create its database; nothing was started.",
            str(data),
            problems=done.stderr.strip().splitlines(),
            next_step="remove the folder if it holds nothing that you need, then start again",
        )


def _find_binaries() -> Path:
    """The folder of Postgres' programs, the newest version first."""
    folder = _programs()
    if folder is not None:
        return folder

    raise StackError(
        "This machine has no Postgres; nothing was started.",
        expected=f"the programs {', '.join(PROGRAMS)} below /usr/lib/postgresql or on the path",
        next_step="install it (apt-get install postgresql, brew install postgresql), "
        "or use --db sqlite",
    )


def _programs() -> Path | None:
    """The folder of Postgres' programs, the newest version first; None if there is none."""
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name)
    )
    on_path = shutil.which("initdb")
    folders = [*reversed(versions), *([Path(on_path).parent] if on_path else [])]

    for folder in folders:
        if all((folder / name).exists() for name in PROGRAMS):
            return folder
    return None


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
