"""Whether a delivery was signed with our secret, and lately."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from starlette.exceptions import HTTPException

MAX_AGE_S = 300
"""Between the sender's clock and ours, either way."""
VERSION = "v1"
"""Of the way in which MLflow signs."""
_ID = re.compile(r"[!-~]{1,100}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class SignedHeaders:
    """What the headers of a delivery say of it. Nothing of it is proven yet."""

    delivery: str
    """The delivery's id, the same whenever MLflow sends it again."""
    timestamp: str
    """Unix time in seconds, as it was signed."""
    signature: bytes

    @classmethod
    def read(cls, headers: Mapping[str, str], now_s: float) -> Self:
        """The headers of a delivery that is neither old nor of the future.

        They are named as in `mlflow.webhooks.constants` (MLflow 3.17).

        Raises:
            HTTPException: One is missing or malformed, or the timestamp is too far off.
        """
        delivery = headers.get("x-mlflow-delivery-id", "")
        timestamp = headers.get("x-mlflow-timestamp", "")
        signature = headers.get("x-mlflow-signature", "")

        if not signature:
            raise HTTPException(401, "The delivery is not signed: give the webhook a secret.")
        if not _ID.fullmatch(delivery) or not _TIMESTAMP.fullmatch(timestamp):
            raise HTTPException(400, "The delivery has no valid id or timestamp.")

        age_s = abs(now_s - int(timestamp))
        if age_s > MAX_AGE_S:
            raise HTTPException(
                401,
                f"The delivery's timestamp is {age_s:,.0f} s away from this host's time; expected "
                f"at most {MAX_AGE_S} s. Set both clocks, or send it anew.",
            )

        return cls(delivery, timestamp, signature.encode("latin-1", "replace"))

    def check(self, body: bytes, secret: str) -> None:
        """Check that whoever sent the body knows the secret, in time that tells nothing of it.

        MLflow signs `id.timestamp.body` with HMAC-SHA256, as Standard Webhooks
        (https://www.standardwebhooks.com) do, and writes `v1,` and the digest in base64.

        Raises:
            HTTPException: It does not.
        """
        signed = f"{self.delivery}.{self.timestamp}.".encode() + body
        digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
        expected = f"{VERSION},".encode() + base64.b64encode(digest)

        if not hmac.compare_digest(expected, self.signature):
            raise HTTPException(401, "The signature is wrong: the webhook has another secret.")
