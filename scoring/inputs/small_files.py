"""Small files, each read whole with one request, and on object stores ahead of its turn."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from nightscore.inputs.parquet_files import read_whole
from nightscore.schemas.partition import InputFile
from nightscore.storage.store import Store

SMALL_FILE_BYTES = 1 << 20
"""Up to here a file is read whole. Its footer and its columns, one by one, would take more requests
to a store, and more time of pyarrow."""
THREADS = 16


class SmallFiles:
    """The small ones among files that are read in order, by one thread."""

    def __init__(self, store: Store, files: Sequence[InputFile], budget_bytes: int) -> None:
        """Read nothing yet.

        Args:
            store: Where they are.
            files: All files, in the order in which they will be read.
            budget_bytes: Bytes that may be held of files whose turn has not come; 0: none.
        """
        self._store = store
        self._budget_bytes = budget_bytes
        self._following: deque[InputFile] = deque()
        self._threads: ThreadPoolExecutor | None = None

        if budget_bytes:
            self._following.extend(file for file in files if is_small(file))
            if len(self._following) > 1:
                self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="small-files")

        self._ahead: deque[tuple[InputFile, Future[bytes]]] = deque()
        self._ahead_bytes = 0

    def read(self, file: InputFile) -> bytes | None:
        """All bytes of a file. None: it is too large for that.

        Raises:
            InputChangedError: It is not the file that was planned.
        """
        if not is_small(file):
            return None
        if self._threads is None:
            return read_whole(self._store, file)

        self._fetch_ahead(self._threads)
        _, content = self._ahead.popleft()
        self._ahead_bytes -= file.size_bytes
        return content.result()

    def _fetch_ahead(self, threads: ThreadPoolExecutor) -> None:
        """Begin to read the next files: at least one, and no more than the budget allows."""
        while self._following:
            n_bytes = self._ahead_bytes + self._following[0].size_bytes
            if self._ahead and n_bytes > self._budget_bytes:
                return

            file = self._following.popleft()
            self._ahead.append((file, threads.submit(read_whole, self._store, file)))
            self._ahead_bytes = n_bytes

    def __enter__(self) -> Self:
        """Nothing happens yet."""
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Fetch nothing more."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)


def is_small(file: InputFile) -> bool:
    """Whether a file is read whole."""
    return file.size_bytes <= SMALL_FILE_BYTES
