"""Asks a feature flag for the share of a canary, by OpenFeature (https://openfeature.dev).

It is asked once a run, never once a row. A provider has a few seconds, in a thread that is given
up then: a run does not wait for it.
"""

import importlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any

from nightscore.errors import ChallengerError
from nightscore.process import start_daemon
from nightscore.schemas.flag import FlagRecord, ReleaseFlag

PATIENCE_S = 10.0
"""For a provider to start and to answer. Services that are asked over HTTP take milliseconds."""
DOMAIN = "nightscore"
"""Of OpenFeature: providers of other code in this process are left alone."""
INSTALL = "pip install 'nightscore[flags]'"


@dataclass(frozen=True, slots=True)
class FlagAnswer:
    """What a flag says."""

    share: float
    """Of the keys, from 0 to 1. 0: there is no canary."""
    record: FlagRecord


def ask_flag(
    flag: ReleaseFlag,
    share: float | None,
    about: Mapping[str, str],
    allow_code: Sequence[str] = (),
    patience_s: float = PATIENCE_S,
) -> FlagAnswer:
    """The share that a flag names.

    Args:
        flag: Of the job.
        share: The job's own, which the value `true` means.
        about: What the flag may decide by; `job` is the targeting key.
        allow_code: Modules whose code the job allows.
        patience_s: Seconds until the provider is given up.

    Raises:
        ChallengerError: The flag does not answer, or its value is no share.
    """
    asked = start_daemon("flag", lambda: _evaluate(flag, about, allow_code))

    try:
        details = asked.result(patience_s)
    except FutureTimeoutError:
        raise _silent(flag, f"no answer within {patience_s:g} s") from None
    except ChallengerError:
        raise
    except Exception as error:
        raise _silent(flag, f"{type(error).__name__}: {error}"[:200]) from error

    return _answer(flag, share, details)


def _evaluate(flag: ReleaseFlag, about: Mapping[str, str], allow_code: Sequence[str]) -> Any:
    """OpenFeature's details of the flag. A number of JSON may be an integer, so types are tried."""
    try:
        from openfeature import api
        from openfeature.evaluation_context import EvaluationContext
        from openfeature.exception import ErrorCode
    except ImportError as error:
        raise _silent(flag, f"{error.name} is not installed; {INSTALL}") from error

    api.set_provider_and_wait(_make_provider(flag, allow_code), DOMAIN)

    client: Any = api.get_client(DOMAIN)
    context = EvaluationContext(about["job"], dict(about))

    number = client.get_float_details(flag.name, math.nan, context)
    if number.error_code is None and number.value not in (0.0, 1.0):
        return number
    if number.error_code not in (None, ErrorCode.TYPE_MISMATCH):
        return number

    # Python takes a bool for an integer, and flagd's provider makes a float of that: `true` would
    # be all keys.
    details = client.get_boolean_details(flag.name, False, context)
    if details.error_code != ErrorCode.TYPE_MISMATCH:
        return details

    if number.error_code is None:
        return number
    return client.get_integer_details(flag.name, -1, context)


def _make_provider(flag: ReleaseFlag, allow_code: Sequence[str]) -> Any:
    module = flag.module

    if module is None:
        from openfeature.contrib.provider.ofrep import OFREPProvider

        return OFREPProvider(flag.provider, timeout=PATIENCE_S / 2)

    if module not in allow_code:
        raise ChallengerError(
            f"The flag {flag.name} would run code that the job does not allow.",
            flag.provider,
            expected="its module named under allow_code in the job file",
            found=", ".join(allow_code) or "none",
            next_step=f"set allow_code: [{module}] in the job file, if you trust it",
        )

    function = flag.provider.partition(":")[2]
    return getattr(importlib.import_module(module), function)()


def _answer(flag: ReleaseFlag, share: float | None, details: Any) -> FlagAnswer:
    """The share that OpenFeature's details mean.

    Raises:
        ChallengerError: None.
    """
    reason = str(details.reason or "")

    if details.error_code is not None:
        raise _silent(flag, f"{details.error_code}: {details.error_message or ''}"[:200])

    if reason == "DISABLED":
        record = FlagRecord(name=flag.name, value=False, reason=reason)
        return FlagAnswer(0.0, record)

    value = details.value
    meant = value
    if isinstance(value, bool):
        meant = (share or 0.0) if value else 0.0

    if not 0.0 <= meant <= 1.0:
        raise ChallengerError(
            f"The value of the flag {flag.name} is no share.",
            flag.provider,
            expected="a number from 0 to 1, true or false",
            found=str(value),
            next_step="correct the flag",
        )

    variant = str(details.variant or "")
    record = FlagRecord(name=flag.name, value=value, variant=variant, reason=reason)
    return FlagAnswer(float(meant), record)


def _silent(flag: ReleaseFlag, found: str) -> ChallengerError:
    return ChallengerError(
        f"The flag {flag.name} did not answer.",
        flag.provider,
        found=found,
        next_step="see whether its provider is up, and whether it has a flag of this name",
    )
