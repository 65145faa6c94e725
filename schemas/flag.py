"""A feature flag that says which share of the keys a canary's challenger scores."""

import re
from typing import Annotated

from pydantic import Field, field_validator

from nightscore.schemas.base_record import Record, Stored
from nightscore.schemas.uri import check_uri

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
PROVIDERS = "a URL such as http://flagd:8016, or a function such as my_flags:make_provider"


class ReleaseFlag(Record):
    """A feature flag, read once a run by OpenFeature."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """The flag's key. A number is the share, from 0 to 1; 0 or false ends the canary, true means
    the job's own `share`."""
    provider: str
    """Who knows the flag: the URL of a service that speaks OFREP, or `module:function`, a function
    without parameters that returns a provider of OpenFeature. Its module must be named in
    `allow_code`."""

    @property
    def module(self) -> str | None:
        """The module of the function. None: the provider is a service."""
        return None if "://" in self.provider else self.provider.partition(":")[0]

    @field_validator("provider")
    @classmethod
    def _is_known(cls, provider: str) -> str:
        if provider.startswith(("http://", "https://")):
            return check_uri(provider)
        if not _FUNCTION.fullmatch(provider):
            raise ValueError(f"expected {PROVIDERS}")
        return provider


class FlagRecord(Stored):
    """What a flag said to a run."""

    name: str
    """The flag's key."""
    value: float | bool
    """As the provider gave it."""
    variant: str = ""
    """Name of the value. Empty: the provider gave none."""
    reason: str = ""
    """Why it is this value, in OpenFeature's words, such as `STATIC` or `TARGETING_MATCH`."""

    def __str__(self) -> str:
        """What it said, in one clause."""
        value = str(self.value).lower() if isinstance(self.value, bool) else f"{self.value:.4g}"
        details = []
        if self.variant:
            details.append(f"variant {self.variant}")
        if self.reason:
            details.append(self.reason)

        return f"{self.name} was {value}" + (f" ({', '.join(details)})" if details else "")
