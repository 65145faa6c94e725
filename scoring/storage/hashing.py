"""Checksums of files: while they are written, and of those that exist."""

import contextlib
import hashlib
import os
from typing import Any, BinaryIO

from nightscore.storage.protocol import UPLOAD_BLOCK_BYTES


class HashingFile:
    """Counts and hashes what is written, so that a checksum needs no second reading."""

    def __init__(self, file: BinaryIO) -> None:
        """Wrap a file that is open for writing."""
        self._file = file
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self.closed = False
        self._is_aborted = False

    def write(self, data: Any) -> int:
        """Write bytes, or any object with their buffer."""
        view = memoryview(data)
        if self._is_aborted:
            # Arrow's writer ends the file when it is garbage collected, whatever became of it.
            return view.nbytes

        self._hash.update(view)
        self.size_bytes += view.nbytes
        self._file.write(view)
        return view.nbytes

    def tell(self) -> int:
        """The position, which is the number of bytes so far."""
        return self.size_bytes

    def flush(self) -> None:
        """Nothing: `close` makes the file durable."""

    def readable(self) -> bool:
        """No."""
        return False

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """No: bytes are hashed in order."""
        return False

    def close(self) -> None:
        """Make it durable: fsync on a disk, complete the upload on an object store."""
        if self.closed:
            return
        self.closed = True

        self._file.flush()
        with contextlib.suppress(AttributeError, OSError):
            os.fsync(self._file.fileno())
        self._file.close()

    def abort(self) -> None:
        """Close without completing an upload. Later writes are discarded."""
        if self.closed:
            return
        self.closed = self._is_aborted = True

        close = getattr(self._file, "discard", self._file.close)
        with contextlib.suppress(Exception):
            close()

    @property
    def sha256(self) -> str:
        """The checksum so far, hexadecimal."""
        return self._hash.hexdigest()


def hash_file(file: BinaryIO) -> str:
    """SHA-256 of an open file, hexadecimal. It is read in blocks."""
    digest = hashlib.sha256()
    while block := file.read(UPLOAD_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()
