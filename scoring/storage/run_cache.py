"""A cache in bounded memory that the runs of one process share: it holds what never changes once written."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")

MAX_BYTES = 64 << 20
"""As who puts a thing estimates it. A day's profile of 22 columns is 80 KB on the store and .3 MB parsed; a run reads
those of four weeks."""
MAX_SPARE = 16
"""Things at hand for one run at a time: as many as partitions that are under way at once."""


class RunCache:
    """Shared by the runs of one backfill, which may be in several threads.

    It never holds what another process may change: the files of a partition, what is live, records of runs that have
    not ended. A key names content that the store has under it for ever, or not at all. The folders below an input are
    the exception: a backfill lists them once, and each run lists them again before it publishes.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Holds nothing yet."""
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._n_bytes = 0
        self._spare: dict[Hashable, list[object]] = {}

    @property
    def n_bytes(self) -> int:
        """Of what is kept now."""
        return self._n_bytes

    def get(self, key: Hashable, kind: type[T]) -> T | None:
        """What was put under the key; None: nothing any more. Not to be changed: others have it as well."""
        with self._lock:
            if key not in self._found:
                return None
            self._found.move_to_end(key)
            found = self._found[key][0]
        return found if isinstance(found, kind) else None

    def put(self, key: Hashable, thing: object, n_bytes: int) -> None:
        """Keep a thing that stays as it is; what nobody has asked for the longest is let go of."""
        with self._lock:
            if n_bytes > self._max_bytes or key in self._found:
                return
            self._found[key] = (thing, n_bytes)
            self._n_bytes += n_bytes
            while self._n_bytes > self._max_bytes:
                self._n_bytes -= self._found.popitem(last=False)[1][1]

    def borrow(self, key: Hashable, kind: type[T]) -> T | None:
        """A thing for one run at a time, to be handed back; None: none is at hand."""
        with self._lock:
            spare = self._spare.get(key)
            found = spare.pop() if spare else None
        return found if isinstance(found, kind) else None

    def hand_back(self, key: Hashable, thing: object) -> None:
        """Have it for the next run."""
        with self._lock:
            spare = self._spare.setdefault(key, [])
            if len(spare) < MAX_SPARE:
                spare.append(thing)

    def read_once(self, key: Hashable, kind: type[T], read: Callable[[], tuple[T, int]]) -> T:
        """The cached value of a key; read and cached if it is not there.

        Args:
            key: Names the content. Where the content of a place may change, the place alone is no key.
            kind: Type of the value.
            read: Asks the store. Returns the value and its bytes; what it raises passes through.
        """
        value = self.get(key, kind)
        if value is None:
            value, n_bytes = read()
            self.put(key, value, n_bytes)
        return value
