"""Translates the errors of storage libraries into ours, by code, HTTP status or type name.

Each backend declares how its store names errors (`ErrorCodes`). Code that reads through a library
knows a place but not its backend, so the names of all backends are looked up together. No backend
gives a meaning to a name that has another meaning elsewhere.
"""

import contextlib
import errno
import functools
from collections.abc import Iterator
from typing import Any

from nightscore.errors import (
    ConflictError,
    CredentialsError,
    LocationNotFoundError,
    ScoringError,
    StorageError,
    StorageUnavailableError,
)
from nightscore.storage.backend_catalog import describe_places, known_backends
from nightscore.storage.protocol import ErrorCodes
from nightscore.storage.unreachable import unreachable_store

_COMMON = ErrorCodes(
    libraries=("aiohttp", "asyncio", "fsspec", "requests", "urllib3"),
    absent=("404", "NotFound"),
    denied=("401", "403"),
    precondition=("412",),
    beyond_end=("416",),
)
"""What all stores share: HTTP clients and statuses."""

_DENYING_WORDS = (
    "privileges",
    "Unauthenticated",
    "credential",
    "Forbidden",
    "AccessDenied",
    "401 Unauthorized",
)
"""How delta-rs says that credentials are refused or missing."""


@contextlib.contextmanager
def translated_errors(where: str) -> Iterator[None]:
    """Turn errors of storage libraries, and of the disk, into ours."""
    try:
        yield
    except ScoringError:
        raise
    except Exception as error:
        translated = translate_error(error, where)
        if translated is None:
            raise
        raise translated from error


def translate_error(error: BaseException, where: str) -> ScoringError | None:
    """The error as one of ours. None: it comes from no store and no disk."""
    if isinstance(error, KeyError) and error.args and error.args[0] in _codes("missing_etag_keys"):
        return no_etags(where)

    source = _library_error(error)
    if source is None and not isinstance(error, OSError):
        return None

    code = code_of(error)
    first_line = str(error).splitlines()[0] if str(error) else code
    detail = f"{type(error).__name__}: {first_line}"

    if code in _codes("precondition"):
        return ConflictError("The object was replaced meanwhile.", where)

    if code in _codes("busy"):
        return StorageUnavailableError(
            "The store is busy with another change of the same object.",
            where,
            found=f"{code}, again and again",
            next_step="run again; look for another run of the same partition",
        )

    return (
        _translate_missing_bucket(error, code, where, detail)
        or _translate_refusal(error, source, where, detail)
        or _translate_absence(error, code, where, detail)
        or _translate_failure(error, source, code, where, detail)
    )


def credentials_error(code: str, where: str, detail: str) -> CredentialsError | None:
    """What the code of an answer says about the credentials. None: nothing."""
    if code in _codes("expired"):
        return CredentialsError(
            "The credentials have expired, or their token is not valid here.",
            where,
            expected="a token that is valid until the run has ended",
            found=detail,
            next_step="get new credentials, then run again",
        )

    if code in _codes("clock"):
        return CredentialsError(
            "The store refuses requests of this time: the clock of this host is wrong.",
            where,
            expected="a clock within 15 minutes of the store's",
            found=detail,
            next_step="set the clock of this host (NTP), then run again",
        )

    if code in _codes("unexplained"):
        return CredentialsError(
            "The store refused a request and did not say why: an expired token or a wrong region, "
            "most likely.",
            where,
            expected="credentials that are valid now, and the bucket's own region",
            found=detail,
            next_step="get new credentials, and set `region` in storage_options, then run again",
        )

    return _denied(where, detail) if code in _codes("denied") else None


def credentials_error_in(text: str, where: str) -> CredentialsError | None:
    """The same for delta-rs, whose messages quote what the store answered."""
    for code in (*_codes("expired"), *_codes("clock")):
        if code in text:
            return credentials_error(code, where, text)

    # A number may be a part of anything.
    names = [code for code in _codes("denied") if not code.isdigit()]
    is_denied = any(word in text for word in (*_DENYING_WORDS, *names))
    return _denied(where, text) if is_denied else None


def no_etags(where: str, consequence: str = "uploads in parts rest on them") -> StorageError:
    """The error of a store whose answers do not identify the version of an object."""
    return StorageError(
        f"The store answers without ETags: {consequence}; nothing was published.",
        where,
        expected="an ETag with each object",
        found="none",
        next_step="use output.format: delta, or a store (or a gateway before it) that passes ETags "
        "on",
    )


def unsupported(scheme: str) -> StorageError:
    """The error of a conditional request to a store that has none."""
    return StorageError(
        f"On {scheme}:// nightscore has no conditional requests: of two writers nobody could say "
        "who was first.",
        expected=describe_places(lambda able: able.can_create and able.can_replace),
        found=f"{scheme}://",
        next_step="use output.format: delta on Azure and Google, or write to another output.uri",
    )


def is_store_error(error: BaseException) -> bool:
    """Whether an error of a Parquet reader comes from the store rather than from the file.

    Arrow's own complaints about a file are plain OSErrors without a number.
    """
    if _is_from_library(error):
        return True
    return isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None)


def is_absent(error: BaseException) -> bool:
    """Whether the error says that there is no such file, folder or bucket."""
    return isinstance(translate_error(error, ""), LocationNotFoundError)


def is_beyond_end(error: BaseException) -> bool:
    """Whether the error says that a range starts after the end of the file."""
    return code_of(error) in _codes("beyond_end")


def code_of(error: BaseException) -> str:
    """The store's name for the error, else the HTTP status as text. Empty: it did not answer."""
    status = ""

    for cause in _chain(error):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):  # botocore
            return str(response.get("Error", {}).get("Code", ""))
        if not _is_from_library(cause):
            continue

        name = getattr(cause, "error_code", None)  # azure.core: a member of an enumeration, or text
        if name:
            return str(getattr(name, "value", name))

        status = status or _status_of(cause)

    return status


def _status_of(error: BaseException) -> str:
    """The HTTP status of an error of azure.core, aiohttp, gcsfs or google.api_core."""
    for attribute in ("status_code", "status", "code"):
        number = getattr(error, attribute, None)
        number = getattr(number, "value", number)
        if str(number).isdigit():
            return str(number)
    return ""


def _translate_missing_bucket(
    error: BaseException, code: str, where: str, detail: str
) -> ScoringError | None:
    if code != "NoSuchBucket" and "bucket does not exist" not in str(error):
        return None
    return LocationNotFoundError(
        "No such bucket.", where, found=detail, next_step="check the URI, or create the bucket"
    )


def _translate_refusal(
    error: BaseException, source: BaseException | None, where: str, detail: str
) -> ScoringError | None:
    if source is None and isinstance(error, PermissionError) and error.filename is not None:
        return CredentialsError(
            "The file system refuses access.",
            where,
            expected="a user who may read the input, and write the output and the folder beside it",
            found=detail,
            next_step="give this user the rights, or run as another user",
        )

    if refusal := credentials_error(code_of(error), where, detail):
        return refusal

    return _denied(where, detail) if _is_denied(error, source) else None


def _translate_absence(
    error: BaseException, code: str, where: str, detail: str
) -> ScoringError | None:
    if not isinstance(error, FileNotFoundError) and code not in _codes("absent"):
        return None
    return LocationNotFoundError(
        "No such file or folder.",
        where,
        found=detail,
        next_step="check the path; a file that was there may have been moved or removed meanwhile",
    )


def _translate_failure(
    error: BaseException, source: BaseException | None, code: str, where: str, detail: str
) -> StorageError:
    if unreachable := unreachable_store(where, detail):
        return unreachable

    if isinstance(error, (ConnectionError, TimeoutError)) or source is not None or code:
        return StorageUnavailableError(
            "The store did not answer, or its response was unexpected.",
            where,
            found=detail,
            next_step="check the endpoint and the network, then run again: nothing was published",
        )

    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            "The disk is full; nothing was published.",
            where,
            found=detail,
            next_step="make room (`nightscore clean` removes what dead runs left), then run again",
        )

    if getattr(error, "errno", None) == errno.EROFS:
        return StorageError(
            "The file system is read-only; nothing was published.",
            where,
            found=detail,
            next_step="mount it for writing, or name another output.uri in the job file",
        )

    # To make a folder where a file is, or a link to nothing, is refused as existing.
    if isinstance(error, NotADirectoryError | FileExistsError):
        return StorageError(
            "A part of the path is a file, where a folder is needed.",
            where,
            found=detail,
            next_step="correct the path in the job file, or move the file away",
        )

    return StorageError(
        "Reading or writing failed.", where, found=detail, next_step="check disk space and rights"
    )


def _is_denied(error: BaseException, source: BaseException | None) -> bool:
    kind = type(source or error).__name__
    if isinstance(error, PermissionError) or "Credentials" in kind:
        return True
    if kind in _codes("denying_types"):
        # google.auth sets `retryable` if its server did not answer.
        return not getattr(source, "retryable", False)
    prefixes = _codes("denying_prefixes")
    return type(error) is OSError and str(error).startswith(prefixes)


def _denied(where: str, detail: str) -> CredentialsError:
    return CredentialsError(
        "The store refused the credentials, or there are none.",
        where,
        expected="credentials that may list, read and write here",
        found=detail,
        next_step="set storage_options (key, secret as ${ENV_NAME}) or the store's own environment "
        "variables",
    )


def _library_error(error: BaseException) -> BaseException | None:
    """The library's own error, which another may be wrapped around."""
    return next((cause for cause in _chain(error) if _is_from_library(cause)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_from_library(error: BaseException) -> bool:
    return type(error).__module__.split(".")[0] in _codes("libraries")


def _codes(field: str) -> tuple[str, ...]:
    """What all backends declare under a field of `ErrorCodes`."""
    return _collect(field, *known_backends())


@functools.lru_cache(maxsize=64)
def _collect(field: str, *backends: Any) -> tuple[str, ...]:
    values: list[str] = []
    for codes in (_COMMON, *(backend.error_codes for backend in backends)):
        values += getattr(codes, field)
    return tuple(dict.fromkeys(values))
