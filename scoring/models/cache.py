"""Models on this host, by the digest of their content.

Several processes may use a cache at once: a folder appears whole, by a rename.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nightscore.errors import InvalidJobError, ModelDigestError, ModelLoadError, StorageError
from nightscore.schemas.text import is_utf8

WRITTEN_BY_LOADING = "registered_model_meta"
"""A file that `mlflow.<flavor>.load_model` writes beside local artifacts.

It is no part of the model. A digest counts it only if the pin was made with it.
"""


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A verified artifact tree."""

    path: Path
    digest: str
    """`sha256:` and 64 hexadecimal digits."""
    is_pinned: bool


@dataclass(frozen=True, slots=True)
class ModelCache:
    """The cache of models below one folder.

    <root>/<digest>/      artifacts
    <root>/index/         the digest of each model version
    <root>/versions/      what the registry said of pinned versions and logged models
    <root>/facts/         what loading a model has shown
    <root>/baselines/     baselines of model versions
    """

    root: Path

    def get(
        self, key: str, source: Path | None, download: Callable[[Path], None], pinned: str | None
    ) -> CachedModel:
        """The artifacts of `key`: from the cache, the local folder `source`, or by `download`.

        A local source that was changed since is copied again, so that changed artifacts are
        noticed.

        Raises:
            ModelDigestError: The artifacts are not those of the pin.
        """
        stamp = "" if source is None else _stamp(source)

        with _using(self.root):
            digest = self._indexed(key, stamp)
            if digest is None or pinned not in (None, digest):
                digest = self._add(source, download, pinned)
                self._index(key, stamp, digest)

        if pinned is not None and pinned != digest:
            raise ModelDigestError(
                "The model's artifacts are not those that were pinned; nothing was loaded.",
                str(source or ""),
                expected=pinned,
                found=digest,
                next_step="find out who changed them; register a new version instead of changing "
                "an old one",
            )

        return CachedModel(self._folder(digest), digest, pinned is not None)

    def pinned(self, digest: str) -> CachedModel | None:
        """Artifacts of this digest, if the cache has them and they are intact."""
        folder = self._folder(digest)
        with _using(self.root):
            is_intact = folder.is_dir() and digest_tree(folder) == digest
        return CachedModel(folder, digest, True) if is_intact else None

    def remember(self, key: str, text: str) -> None:
        """Store what the registry said of a model version."""
        if self.recall(key) != text:
            _write(self._version(key), text)

    def recall(self, key: str) -> str | None:
        """What the registry last said of a model version, or None."""
        with _using(self.root):
            try:
                return self._version(key).read_text()
            except FileNotFoundError:
                return None

    def baseline(self, digest: str) -> bytes | None:
        """The baseline of this sha256, if the cache has it and it is intact."""
        with _using(self.root):
            try:
                content = self._baseline(digest).read_bytes()
            except FileNotFoundError:
                return None
        return content if digest_bytes(content) == digest else None

    def write_baseline(self, digest: str, content: bytes) -> None:
        """Store a baseline for the next run of this host."""
        _write(self._baseline(digest), content)

    def note(self, digest: str, name: str) -> Path:
        """Where a fact about a cached model is stored."""
        return self.root / "facts" / f"{digest.removeprefix('sha256:')}-{name}.json"

    def write_note(self, digest: str, name: str, text: str) -> None:
        """Store a fact about a cached model."""
        _write(self.note(digest, name), text)

    def _baseline(self, digest: str) -> Path:
        return self.root / "baselines" / f"{digest.removeprefix('sha256:')}.parquet"

    def _version(self, key: str) -> Path:
        return self.root / "versions" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def _folder(self, digest: str) -> Path:
        return self.root / digest.removeprefix("sha256:")

    def _entry(self, key: str) -> Path:
        return self.root / "index" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def _indexed(self, key: str, stamp: str) -> str | None:
        """The digest of a key, if its source is unchanged and its folder is intact."""
        try:
            entry = json.loads(self._entry(key).read_text())
        except (FileNotFoundError, ValueError):
            return None

        digest = str(entry["digest"])
        folder = self._folder(digest)
        if entry["stamp"] != stamp or not folder.is_dir():
            return None

        # The cache is a folder like any other: what is loaded from it is hashed first.
        if digest_tree(folder) != digest:
            shutil.rmtree(folder, ignore_errors=True)
            return None

        return digest

    def _index(self, key: str, stamp: str, digest: str) -> None:
        _write(self._entry(key), json.dumps({"key": key, "stamp": stamp, "digest": digest}))

    def _add(
        self, source: Path | None, download: Callable[[Path], None], pinned: str | None
    ) -> str:
        """Copy or download artifacts into the cache; their digest."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)

        with tempfile.TemporaryDirectory(dir=self.root, prefix=".fetch-") as spool:
            folder = Path(spool, "model")

            if source is not None:
                check_tree(source)
                shutil.copytree(source, folder)
            else:
                folder.mkdir()
                download(folder)

            digest = digest_tree(folder)
            if digest != pinned and (folder / WRITTEN_BY_LOADING).is_file():
                (folder / WRITTEN_BY_LOADING).unlink()
                digest = digest_tree(folder)

            target = self._folder(digest)
            if target.is_dir() and digest_tree(target) != digest:
                shutil.rmtree(target)

            # Another process may have put the same content there meanwhile: either copy will do.
            with contextlib.suppress(OSError):
                folder.rename(target)

        return digest


def default_cache() -> ModelCache:
    """The cache of this user: `$NIGHTSCORE_CACHE`, else `nightscore` in the user's cache folder.

    Raises:
        InvalidJobError: The environment names no folder, and the user has no home.
    """
    if folder := os.environ.get("NIGHTSCORE_CACHE"):
        return ModelCache(Path(folder).absolute())
    if base := os.environ.get("XDG_CACHE_HOME"):
        return ModelCache(Path(base, "nightscore").absolute())

    try:
        return ModelCache(Path.home() / ".cache" / "nightscore")
    except RuntimeError as error:  # a container's user without a name
        raise InvalidJobError(
            "There is no folder to cache models in: this user has no home folder.",
            next_step="set NIGHTSCORE_CACHE (or --cache-dir) to a folder that this user can write",
        ) from error


@contextlib.contextmanager
def _using(root: Path) -> Iterator[None]:
    """Turn errors of the cache's folder into one that says how to mend it."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            "The cache of models on this host cannot be used.",
            str(root),
            expected="a folder that this user can read and write, on a disk with room",
            found=str(error),
            next_step="set NIGHTSCORE_CACHE (or --cache-dir) to such a folder, or make room",
        ) from error


def digest_bytes(content: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def digest_tree(folder: Path) -> str:
    """sha256 over the sorted relative paths, sizes and sha256 of all files.

    Raises:
        ModelLoadError: The tree holds symbolic links or special files.
    """
    total = hashlib.sha256()
    for path in check_tree(folder):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.relative_to(folder).as_posix()
        total.update(f"{name}\0{path.stat().st_size}\0{content}\n".encode())

    return f"sha256:{total.hexdigest()}"


def check_tree(folder: Path) -> list[Path]:
    """All files, sorted by relative path.

    Raises:
        ModelLoadError: The tree holds something other than folders and files, such as a symbolic
            link, or a name that is not UTF-8.
    """
    files: list[Path] = []
    refused: list[Path] = []

    for parent, folders, names in os.walk(folder):
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink() or not is_utf8(name):
                refused.append(path)

        for name in names:
            path = Path(parent, name)
            is_plain = path.is_file() and not path.is_symlink() and is_utf8(name)
            (files if is_plain else refused).append(path)

    if refused:
        raise ModelLoadError(
            "The model's artifacts hold links, special files, or names that are not UTF-8; nothing "
            "was loaded.",
            str(folder),
            expected="plain files and folders",
            problems=[_shown(path.relative_to(folder)) for path in refused],
            next_step="do not use this model; ask who registered it, and log it again without "
            "links",
        )

    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def _shown(path: Path) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")


def _stamp(folder: Path) -> str:
    """Changes when a file of the folder does, as far as sizes and times say."""
    lines = []
    for path in check_tree(folder):
        stat = path.stat()
        name = path.relative_to(folder).as_posix()
        lines.append(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _write(path: Path, content: str | bytes) -> None:
    """Write a whole file, or nothing."""
    with _using(path.parent.parent):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        spool = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        spool.write_bytes(content.encode() if isinstance(content, str) else content)
        spool.replace(path)
