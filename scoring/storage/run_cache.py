"""A cache in bounded memory, shared by the runs of one process.

It holds only what never changes once it was written.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

T = TypeVar("T")

MAX_BYTES = 64 << 20
"""As the callers of `put` estimate it. A day's profile of 22 columns takes 110 KB, and its record
60 KB: those of a year fit. A run reads those of four weeks."""

MAX_SPARE = 16
"""Values per key for one run at a time: as many as partitions in progress at once."""


class RunCache:
    """Shared by the runs of one backfill, which may be in several threads.

    It never holds what another process may change: the files of a partition, what is live, records
    of runs that have not ended. A key names content that the store has under it for ever, or not at
    all. The folders below an input are the exception: a backfill lists them once, and each run
    lists them again before it publishes.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Create an empty cache."""
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._n_bytes = 0
        self._spare: dict[Hashable, list[object]] = {}
        self._common: dict[Hashable, object] = {}

    @property
    def n_bytes(self) -> int:
        """Estimated bytes of the cached values."""
        return self._n_bytes

    def get(self, key: Hashable, kind: type[T]) -> T | None:
        """The cached value of a key. None: not cached. Do not change it: it is shared."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            value, _ = self._values[key]
        return value if isinstance(value, kind) else None

    def put(self, key: Hashable, value: object, n_bytes: int) -> None:
        """Cache a value that never changes. The least recently used ones are evicted."""
        with self._lock:
            if n_bytes > self._max_bytes or key in self._values:
                return
            self._values[key] = (value, n_bytes)
            self._n_bytes += n_bytes

            while self._n_bytes > self._max_bytes:
                _, (_, evicted_bytes) = self._values.popitem(last=False)
                self._n_bytes -= evicted_bytes

    def borrow(self, key: Hashable, kind: type[T]) -> T | None:
        """A value for one run at a time, to be handed back. None: none is spare."""
        with self._lock:
            spare = self._spare.get(key)
            value = spare.pop() if spare else None
        return value if isinstance(value, kind) else None

    def hand_back(self, key: Hashable, value: object) -> None:
        """Make a value available to the next run."""
        with self._lock:
            spare = self._spare.setdefault(key, [])
            if len(spare) < MAX_SPARE:
                spare.append(value)

    def common(self, key: Hashable, make: Callable[[], T]) -> T:
        """An object that all runs use at the same time. It is made for the first that asks."""
        with self._lock:
            value = self._common.setdefault(key, None) or make()
            self._common[key] = value
        return cast(T, value)

    def read_once(self, key: Hashable, kind: type[T], read: Callable[[], tuple[T, int]]) -> T:
        """The cached value of a key; read and cached if it is not there.

        Args:
            key: Names the content. If the content of a place may change, the place alone is no key.
            kind: Type of the value.
            read: Asks the store. Returns the value and its bytes. Its errors are not caught.
        """
        value = self.get(key, kind)
        if value is None:
            value, n_bytes = read()
            self.put(key, value, n_bytes)

        return value
