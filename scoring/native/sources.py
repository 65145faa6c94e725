"""Digests of code: a cache of what code has made is valid for the content of that code."""

import hashlib
from pathlib import Path


def source_digest(*packages: Path) -> str:
    """A digest of the names and contents of all Python files in packages and below them.

    Args:
        packages: Folders. Neither their own location nor their other files change the digest.
    """
    total = hashlib.sha256()
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            content = path.read_bytes()
            name = path.relative_to(package.parent).as_posix()
            total.update(f"{name} {len(content)}\n".encode())
            total.update(content)

    return total.hexdigest()
