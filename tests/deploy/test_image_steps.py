"""The steps of the Dockerfile, executed in an empty environment outside of the checkout, and what that can do.

No container runs here: all stages share one folder, which stands for `/`. What needs a system of its own (Debian's packages,
users) is left out, and listed in `LEFT_OUT`. It installs a gigabyte, so that it is part of `make image` and `make thorough` only.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from nightscore.storage.store import Store
from tests.support.boosters import register_boosters
from tests.support.dockerfile import Instruction, read_dockerfile
from tests.support.models import make_frame

pytestmark = [pytest.mark.thorough, pytest.mark.slow, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parent.parent.parent
LIMIT_BYTES = 1_300_000_000
DEBIAN_BYTES = 87_000_000
"""Of Debian's slim image with what Python's adds, measured once."""
LEFT_OUT = ("apt-get", "groupadd")
"""First words of commands that need the image's own system."""
USER = 10001
DAY = "2024-02-29"
INSIDE = re.compile(
    r"(?<![\w.>/-])/(build|checkout|jobs|opt/nightscore|var/cache/nightscore|wheels|work)\b"
)
"""Folders of the image that a step or a variable names."""


@dataclass(frozen=True)
class Image:
    """The folder that stands for `/`, and what the steps have printed."""

    root: Path
    printed: str

    @property
    def environment(self) -> Path:
        return self.root / "opt" / "nightscore"

    def in_image(self, text: str) -> str:
        """A text with the image's folders replaced by those below the root."""
        return INSIDE.sub(lambda match: f"{self.root}/{match[1]}", text)

    def call(self, *command: str) -> str:
        """What a command prints, as the image's user, with its variables, and nothing else on its path."""
        (settings,) = [
            part for part in dockerfile() if part.stage == "final" and part.word == "ENV"
        ]
        variables = {name: self.in_image(value) for name, value in settings.pairs.items()}
        variables["PATH"] = f"{self.environment}/bin"
        variables["PYTHONDONTWRITEBYTECODE"] = "1"  # the image's file system is read-only
        done = subprocess.run(
            [str(self.environment / "bin" / command[0]), *command[1:]],
            env=variables | {"TMPDIR": str(self.root / "tmp")},
            cwd=self.root / "work",
            user=_user(),
            group=_user(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _user() -> int | None:
    """The image's user, if this one may become another, and that one may enter Python's folder."""
    folders = Path(sys.base_prefix).resolve().parents
    is_reachable = all(folder.stat().st_mode & 0o001 for folder in folders)
    return USER if os.geteuid() == 0 and is_reachable else None


def dockerfile() -> list[Instruction]:
    return read_dockerfile(ROOT / "deploy" / "Dockerfile")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """All steps, done once. pytest's own folders cannot be entered by another user."""
    if shutil.which("strip") is None:
        pytest.skip("the steps need strip: apt-get install binutils")
    with tempfile.TemporaryDirectory(prefix="nightscore-image-") as folder:
        root = Path(folder).resolve()
        root.chmod(0o755)
        for name in ("bin", "checkout", "jobs", "tmp", "var/cache/nightscore", "work"):
            (root / name).mkdir(parents=True)
        (root / "bin" / "python").symlink_to(Path(sys.base_prefix, "bin", "python3"))
        image = Image(root, "")
        printed = "".join(_execute(image, part) for part in dockerfile())
        if (user := _user()) is not None:
            for name in ("tmp", "var/cache/nightscore", "work"):
                for path in (root / name, *(root / name).rglob("*")):
                    shutil.chown(path, user, user)
        yield Image(root, printed)


def _execute(image: Image, part: Instruction) -> str:
    if part.word == "COPY" and not part.text.startswith("--from"):
        *sources, target = part.items
        _copy(sources, image.root / "checkout", image.in_image(target))
    if part.word != "RUN" or part.text.startswith(LEFT_OUT):
        return ""
    arguments = {
        name: value
        for other in dockerfile()
        if other.word == "ARG" and other.stage == part.stage
        for name, value in other.pairs.items()
    }
    done = subprocess.run(
        ["sh", "-c", image.in_image(part.text)],
        cwd=image.root / "checkout",
        env=os.environ | arguments | {"PATH": f"{image.root}/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _copy(sources: list[str], workdir: Path, target: str) -> None:
    """As COPY does: a file into a folder, or what is in a folder into another one."""
    into = workdir / target
    for source in map(ROOT.joinpath, sources):
        if source.is_dir():
            unsent = shutil.ignore_patterns("__pycache__", "*.egg-info", "pictures", ".env")
            shutil.copytree(source, into, symlinks=True, ignore=unsent)
        elif target.endswith("/"):
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, into)
        else:
            shutil.copy2(source, into)


def _size_bytes(folder: Path, left_out: tuple[str, ...] = ()) -> int:
    return sum(
        path.lstat().st_size
        for path in folder.rglob("*")
        if not path.is_dir() and not set(left_out) & set(path.relative_to(folder).parts)
    )


def test_the_image_is_small(image: Image) -> None:
    """Prints the ten largest packages, for the table in the README."""
    base = Path(sys.base_prefix)
    unshipped = ("site-packages", "test", "tests", "idlelib", "__pycache__", "ensurepip")
    stdlib = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    for_embedding = [path.name for path in (base / stdlib).glob("config-*")]
    interpreter = _size_bytes(base / stdlib, (*unshipped, *for_embedding)) + sum(
        path.stat().st_size
        for path in (base / "lib").glob("libpython*.so*")
        if not path.is_symlink()
    )
    environment = _size_bytes(image.environment)
    (site_packages,) = image.environment.glob("lib/*/site-packages")
    packages = {path.name: _size_bytes(path) for path in site_packages.iterdir() if path.is_dir()}
    largest = sorted(packages.items(), key=lambda item: -item[1])[:10]
    total = environment + interpreter + DEBIAN_BYTES
    print(image.printed)
    for name, n_bytes in largest:
        print(f"{n_bytes / 1e6:7.1f} MB  {name}")
    print(f"{environment / 1e6:7.1f} MB  the environment")
    print(f"{interpreter / 1e6:7.1f} MB  Python")
    print(f"{total / 1e6:7.1f} MB  altogether, with {DEBIAN_BYTES / 1e6:.0f} MB of Debian")
    assert total < LIMIT_BYTES


def test_commands_work_without_a_compiler(image: Image) -> None:
    assert not list(image.environment.glob("bin/*cc"))
    assert image.call("nightscore", "--version").startswith("nightscore ")
    assert "3." in image.call("prefect", "version")
    assert "mlflow, version 3." in image.call("mlflow", "--version")


def test_the_environment_has_no_bytecode_that_a_copy_would_spoil(image: Image) -> None:
    compiled = list(image.environment.rglob("*.pyc"))
    assert len(compiled) > 3_000
    # Two bits of flags: by a hash, and not checked when it is loaded.
    assert {path.read_bytes()[4:8] for path in compiled} == {b"\x01\0\0\0"}


@pytest.fixture(scope="module")
def registry(image: Image) -> str:
    folder = image.root / "registry"
    uri = f"sqlite:///{folder}/mlflow.db"
    register_boosters(folder, uri)
    _open_to_all(folder)
    return uri


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)


@pytest.mark.parametrize("name", ["lgb_classifier", "xgb_binary"])
def test_jobs_are_scored_and_verified(image: Image, registry: str, name: str) -> None:
    lake = image.root / "work" / name
    features = Store(str(lake / "features"))
    frame = make_frame(3_000, seed=1)
    (lake / "features" / f"ds={DAY}").mkdir(parents=True)
    with features.open_output(f"ds={DAY}/part.parquet") as file:
        frame.to_parquet(file, index=False)
    _open_to_all(lake)
    job = {
        "name": name,
        "model": f"models:/{name}/1",
        "registry": registry,
        "input": str(lake / "features"),
        "output": str(lake / "predictions"),
        "keys": "id",
        "workers": 1,
    }
    (image.root / "jobs" / f"{name}.yaml").write_text(yaml.safe_dump(job))

    manifest = json.loads(image.call("nightscore", "run", name, DAY, "--json"))

    assert manifest["counts"]["rows_scored"] == len(frame)
    verified = json.loads(
        image.call("nightscore", "verify", name, DAY, "--sample", "500", "--json")
    )
    assert verified["is_sound"]
