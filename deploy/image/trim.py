"""Makes the image smaller: removes what no command of nightscore, Prefect or MLflow uses.

    python trim.py /opt/nightscore     # prints the bytes of each removal

It needs the standard library, and `strip` of binutils. It is no part of the package.
"""

import hashlib
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ELF = b"\x7fELF"
PAGE_BYTES = 4096
LOADED_SEGMENT = 1
STRIPPED_BYTES = 100_000
"""Smaller libraries have few symbols."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Files and folders that are removed together."""

    name: str
    patterns: tuple[str, ...]
    """Globs below `site-packages`. One that matches nothing is an error, since it is out of date,
    unless its library is not installed."""
    reason: str
    kept: tuple[str, ...] = ()
    """Names that stay although a pattern matches."""


REMOVALS = (
    Removal(
        "tests of the libraries",
        ("**/tests/__init__.py", "**/test/__init__.py"),
        "no library imports its tests",
    ),
    Removal(
        "headers and sources for compiling",
        (
            *("pyarrow/include", "pyarrow/src", "numpy/_core/include", "numba/**/*.h"),
            *("**/*.pyx", "**/*.pxd", "**/*.pxi", "**/*.cpp", "**/*.c", "**/*.a"),
        ),
        "the image has no compiler",
    ),
    Removal("type stubs", ("**/*.pyi",), "only type checkers read them"),
    Removal(
        "Arrow Flight",
        ("pyarrow/libarrow_flight.so.*", "pyarrow/libarrow_python_flight.so*", "pyarrow/_flight.*"),
        "only `pyarrow.flight` loads it, a protocol that nothing here speaks",
    ),
    Removal(
        "ONNX Runtime for C, and its tools",
        (
            "onnxruntime/capi/libonnxruntime.so.*",
            *("onnxruntime/transformers", "onnxruntime/quantization", "onnxruntime/tools"),
        ),
        "its Python module has the same code inside it; the tools prepare models",
    ),
    Removal(
        "AWS services other than S3",
        ("botocore/data/*", "boto3/data/*"),
        "stores and MLflow's artifacts use S3, and what signs in to it",
        kept=(
            *("_retry.json", "endpoints.json", "partitions.json", "sdk-default-configuration.json"),
            *("s3", "sts", "sso", "sso-oidc", "signin"),
        ),
    ),
)


def main() -> None:
    """Trim the environment that the command line names, and print what that saved."""
    environment = Path(sys.argv[1])
    (site_packages,) = environment.glob("lib/python3*/site-packages")

    saved = [
        (_remove(removal, site_packages), removal.name, removal.reason) for removal in REMOVALS
    ]
    n_bytes = _link_copies(site_packages)
    saved.append((n_bytes, "copies of shared libraries", "a wheel cannot hold links"))
    n_bytes = _strip(site_packages)
    saved.append((n_bytes, "symbols of shared libraries", "only linkers and debuggers read them"))

    for n_bytes, name, reason in saved:
        sys.stdout.write(f"{n_bytes / 1e6:6.1f} MB  {name}: {reason}\n")
    total = sum(n_bytes for n_bytes, _, _ in saved)
    sys.stdout.write(f"{total / 1e6:6.1f} MB  altogether\n")


def _remove(removal: Removal, site_packages: Path) -> int:
    """Remove what the patterns match. Returns how many bytes that were."""
    n_bytes = 0

    for pattern in removal.patterns:
        matches = list(site_packages.glob(pattern))
        library = pattern.partition("/")[0]
        if not matches and (library == "**" or (site_packages / library).exists()):
            raise SystemExit(f"{removal.name}: nothing matches {pattern}; correct trim.py")

        for match in matches:
            path = match.parent if match.name == "__init__.py" else match
            if path.exists() and path.name not in removal.kept:
                n_bytes += _size_bytes(path)
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return n_bytes


def _link_copies(site_packages: Path) -> int:
    """Replace equal copies of a shared library in one folder by links to one of them."""
    n_bytes = 0
    originals: dict[tuple[Path, str], Path] = {}

    for library in _shared_libraries(site_packages):
        content = hashlib.sha256(library.read_bytes()).hexdigest()
        original = originals.setdefault((library.parent, content), library)

        if original != library:
            n_bytes += library.stat().st_size
            library.unlink()
            library.symlink_to(original.name)

    return n_bytes


def _strip(site_packages: Path) -> int:
    """Remove symbols that are not needed for loading. Returns how many bytes that saved.

    What auditwheel has put into a folder `*.libs` was patched before, and `strip` may break such
    files: they stay as they are.
    """
    n_bytes = 0

    for library in _shared_libraries(site_packages):
        size = library.stat().st_size
        if size < STRIPPED_BYTES or library.parent.name.endswith(".libs"):
            continue

        stripped = library.with_name(f"{library.name}.stripped")
        subprocess.run(["strip", "--strip-unneeded", "-o", stripped, library], check=True)

        if _is_aligned(stripped):
            n_bytes += size - stripped.stat().st_size
            stripped.replace(library)
        else:
            stripped.unlink()

    return n_bytes


def _is_aligned(library: Path) -> bool:
    """Whether the loader can map the file: the segments lie in it as they do in memory."""
    content = library.read_bytes()
    (table,) = struct.unpack_from("<Q", content, 32)
    entry_bytes, n_entries = struct.unpack_from("<HH", content, 54)

    for number in range(n_entries):
        entry = struct.unpack_from("<IIQQ", content, table + number * entry_bytes)
        kind, _, position, address = entry
        if kind == LOADED_SEGMENT and (position - address) % PAGE_BYTES:
            return False

    return True


def _shared_libraries(site_packages: Path) -> Iterator[Path]:
    """The shared libraries, links left out."""
    for path in sorted(site_packages.rglob("*.so*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                is_library = file.read(len(ELF)) == ELF
            if is_library:
                yield path


def _size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


if __name__ == "__main__":
    main()
