"""What a cache of things that code has made is valid for: the content of that code."""

import hashlib
from pathlib import Path


def source_digest(*packages: Path) -> str:
    """A digest of all Python files in some packages and below them: their names and their content.

    Args:
        packages: Folders. Where they lie changes nothing, nor does what else is in them.
    """
    total = hashlib.sha256()
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            content = path.read_bytes()
            name = path.relative_to(package.parent).as_posix()
            total.update(f"{name} {len(content)}\n".encode())
            total.update(content)
    return total.hexdigest()
