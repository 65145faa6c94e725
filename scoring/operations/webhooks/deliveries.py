"""Which deliveries have been received, so that each takes effect once."""

from starlette.exceptions import HTTPException

from nightscore.operations.webhooks.signature import MAX_AGE_S

KEPT_S = 2 * MAX_AGE_S
"""A timestamp may be this old or this new: after that time, the delivery is refused as too old."""
MAX_KEPT = 10_000
"""About 1 MB. Only who knows the secret can add one."""


class Deliveries:
    """The ids of the last minutes' deliveries. It is used by one thread."""

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        """Nothing has been received.

        Args:
            max_kept: Most ids that are kept.
        """
        self._received_at: dict[str, float] = {}
        self._max_kept = max_kept

    def is_new(self, delivery: str, now_s: float) -> bool:
        """Whether it is received for the first time; it is noted.

        Raises:
            HTTPException: There are too many to know. None is forgotten early: it could come again.
        """
        self._forget_old(now_s)

        if delivery in self._received_at:
            return False
        if len(self._received_at) >= self._max_kept:
            raise HTTPException(503, "There were too many deliveries in the last minutes.")

        self._received_at[delivery] = now_s
        return True

    def take_back(self, delivery: str) -> None:
        """It has had no effect: MLflow may send it again."""
        self._received_at.pop(delivery, None)

    def _forget_old(self, now_s: float) -> None:
        # In the order in which they were received, which is that of a dict.
        for delivery, received_s in list(self._received_at.items()):
            if now_s - received_s <= KEPT_S:
                return
            del self._received_at[delivery]
