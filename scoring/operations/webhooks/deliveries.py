"""Which deliveries have been received, so that each takes effect once."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException

from nightscore.operations.webhooks.signature import MAX_AGE_S

KEPT_S = 2 * MAX_AGE_S
"""A timestamp may be this old or this new: after that time, the delivery is refused as too old."""
MAX_KEPT = 10_000
"""About 1 MB. Only who knows the secret can add one."""


RETRY_S = 5
"""After which MLflow may ask again for one that is under way. MLflow heeds it; it waits no longer
than it must, since it tries only three times."""


class Deliveries:
    """The ids of the last minutes' deliveries. It is used by one thread."""

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        """Nothing has been received.

        Args:
            max_kept: Most ids that are kept.
        """
        self._received_at: dict[str, float] = {}
        self._under_way: set[str] = set()
        self._max_kept = max_kept

    @contextmanager
    def received(self, delivery: str, now_s: float) -> Iterator[bool]:
        """Whether a delivery is received for the first time; it is noted for the block.

        If the block fails, it has had no effect: MLflow may send it again.

        Raises:
            HTTPException: The same is under way, and nobody knows yet whether it is going to fail.
                Or there are too many to know: none is forgotten early, since it could come again.
        """
        self._forget_old(now_s)

        if delivery in self._under_way:
            headers = {"Retry-After": str(RETRY_S)}
            raise HTTPException(503, "This delivery is under way. Send it again later.", headers)

        if delivery in self._received_at:
            yield False
            return

        if len(self._received_at) >= self._max_kept:
            raise HTTPException(503, "There were too many deliveries in the last minutes.")

        self._received_at[delivery] = now_s
        self._under_way.add(delivery)

        try:
            yield True
        except BaseException:
            self._received_at.pop(delivery, None)
            raise
        finally:
            self._under_way.discard(delivery)

    def _forget_old(self, now_s: float) -> None:
        # In the order in which they were received, which is that of a dict.
        for delivery, received_s in list(self._received_at.items()):
            if now_s - received_s <= KEPT_S:
                return
            del self._received_at[delivery]
