"""Errors of the libraries that talk to stores, told as ours: by the name of their type, their code or their status.

No such library is imported: which of them are installed depends on where the data is.
"""

import errno
from collections.abc import Iterator

from nightscore.errors import (
    ConflictError,
    CredentialsError,
    LocationNotFoundError,
    ScoringError,
    StorageError,
    StorageUnavailableError,
)

STORE_LIBRARIES = (
    "botocore", "aiobotocore", "aiohttp", "asyncio", "fsspec", "s3fs", "azure", "adlfs", "gcsfs", "google",
    "requests", "urllib3",
)  # fmt: skip
RETRIED_STATUSES = (429, 500, 502, 503, 504)
"""s3fs itself repeats only what names itself SlowDown, which an answer without a body (to HEAD) cannot."""
BUSY_CODES = ("ConditionalRequestConflict", "OperationAborted")
"""Another request changes the object at this moment: 409. Nothing says yet that the other one has succeeded."""
PRECONDITION_CODES = ("412", "PreconditionFailed", "ConditionNotMet")
BEYOND_CODES = ("416", "InvalidRange")

_ABSENT = (
    "404", "NoSuchKey", "NoSuchBucket", "NotFound", "BlobNotFound", "ContainerNotFound", "FilesystemNotFound",
    "PathNotFound", "ResourceNotFound",
)  # fmt: skip
_EXPIRED = (
    "ExpiredToken",
    "ExpiredTokenException",
    "TokenRefreshRequired",
    "InvalidToken",
    "RequestExpired",
)
_CLOCK = ("RequestTimeTooSkewed", "RequestInTheFuture")
_DENIED = (
    "401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed",
    "AuthorizationFailure", "AuthorizationPermissionMismatch", "InvalidAuthenticationInfo",
    "NoAuthenticationInformation", "AccountIsDisabled",
)  # fmt: skip
_DENYING_TYPES = (
    "ClientAuthenticationError", "CredentialUnavailableError", "DefaultCredentialsError", "NoCredentialsError",
    "PartialCredentialsError", "RefreshError", "ReauthFailError", "CredentialRetrievalError", "ProfileNotFound",
    "SSOTokenLoadError", "TokenRetrievalError", "UnauthorizedSSOTokenError",
)  # fmt: skip


def mapped(error: BaseException, where: str) -> ScoringError | None:
    """The error as one of ours; None: it comes from no store and no disk."""
    if isinstance(error, KeyError) and error.args == ("ETag",):
        return no_etags(where)
    source = _source(error)
    if not isinstance(error, OSError) and source is None:
        return None
    code, kind = code_of(error), type(source or error).__name__
    first_line = str(error).splitlines()[0] if str(error) else code
    found = f"{type(error).__name__}: {first_line}"

    if code in PRECONDITION_CODES:
        return ConflictError("The object was replaced meanwhile.", where)
    if code in BUSY_CODES:
        return StorageUnavailableError(
            "The store is busy with another change of the same object.",
            where,
            found=f"{code}, again and again",
            next_step="run again; look for another run of the same partition",
        )
    if code == "NoSuchBucket" or "bucket does not exist" in str(error):
        return LocationNotFoundError(
            "No such bucket.", where, found=found, next_step="check the URI, or create the bucket"
        )
    if source is None and isinstance(error, PermissionError) and error.filename is not None:
        return CredentialsError(
            "The file system refuses access.",
            where,
            expected="a user who may read the input, and write the output and the folder beside it",
            found=found,
            next_step="give this user the rights, or run as another user",
        )
    if refused := credentials_error(code, where, found):
        return refused
    if _is_denied(error, source, kind):
        return _denied(where, found)
    if isinstance(error, FileNotFoundError) or code in _ABSENT:
        return LocationNotFoundError(
            "No such file or folder.",
            where,
            found=found,
            next_step="check the path; a file that was there may have been moved or removed meanwhile",
        )
    if isinstance(error, (ConnectionError, TimeoutError)) or source is not None or code:
        return StorageUnavailableError(
            "The store did not answer as it should.",
            where,
            found=found,
            next_step="check the endpoint and the network, then run again: nothing was published",
        )
    return _of_disk(error, where, found)


def credentials_error(code: str, where: str, found: str) -> CredentialsError | None:
    """What the store says of the credentials, by the code of its answer; None: nothing."""
    if code in _EXPIRED:
        return CredentialsError(
            "The credentials have expired, or their token is not valid here.",
            where,
            expected="a token that is valid until the run has ended",
            found=found,
            next_step="get new credentials, then run again",
        )
    if code in _CLOCK:
        return CredentialsError(
            "The store refuses requests of this time: the clock of this host is wrong.",
            where,
            expected="a clock within 15 minutes of the store's",
            found=found,
            next_step="set the clock of this host (NTP), then run again",
        )
    if code == "400":  # to HEAD, which has no body that could say why
        return CredentialsError(
            "The store refused a request and did not say why: an expired token or a wrong region, most likely.",
            where,
            expected="credentials that are valid now, and the bucket's own region",
            found=found,
            next_step="get new credentials, and set `region` in storage_options, then run again",
        )
    return _denied(where, found) if code in _DENIED else None


def credentials_error_in(text: str, where: str) -> CredentialsError | None:
    """The same for delta-rs, which tells in words what the store answered."""
    for code in (*_EXPIRED, *_CLOCK):
        if code in text:
            return credentials_error(code, where, text)
    words = (
        "privileges",
        "Unauthenticated",
        "credential",
        "Forbidden",
        "AccessDenied",
        "401 Unauthorized",
    )
    is_denied = any(word in text for word in words) or any(
        code in text for code in _DENIED if not code.isdigit()
    )
    return _denied(where, text) if is_denied else None


def no_etags(where: str, what_rests: str = "uploads in parts rest on them") -> StorageError:
    """Of a store whose answers do not say which version of an object they are about."""
    return StorageError(
        f"The store answers without ETags: {what_rests}; nothing was published.",
        where,
        expected="an ETag with each object",
        found="none",
        next_step="use output.format: delta, or a store (or a gateway before it) that passes ETags on",
    )


def may_pass(error: BaseException) -> bool:
    """Whether s3fs should try a request again."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return False
    is_busy = response.get("Error", {}).get("Code") in BUSY_CODES
    return is_busy or response.get("ResponseMetadata", {}).get("HTTPStatusCode") in RETRIED_STATUSES


def is_store_error(error: BaseException) -> bool:
    """Whether an error that came out of a Parquet reader is the store's, and not what the file holds.

    Arrow's own complaints about a file are plain OSErrors without a number.
    """
    if _is_of_library(error):
        return True
    return isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None)


def code_of(error: BaseException) -> str:
    """What the store called its refusal: a name, else the status as text; empty: it did not answer."""
    status = ""
    for cause in _chain(error):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):  # botocore
            return str(response.get("Error", {}).get("Code", ""))
        if not _is_of_library(cause):
            continue
        named = getattr(
            cause, "error_code", None
        )  # azure.core: a member of an enumeration, or text
        if named:
            return str(getattr(named, "value", named))
        for name in (
            "status_code",
            "status",
            "code",
        ):  # azure.core, aiohttp, gcsfs and google.api_core
            number = getattr(cause, name, None)
            number = getattr(number, "value", number)
            if not status and str(number).isdigit():
                status = str(number)
    return status


def _is_denied(error: BaseException, source: BaseException | None, kind: str) -> bool:
    if isinstance(error, PermissionError) or "Credentials" in kind:
        return True
    if kind in _DENYING_TYPES:
        return not getattr(source, "retryable", False)  # of google.auth: its server did not answer
    return type(error) is OSError and str(error).startswith("Forbidden: ")  # gcsfs


def _denied(where: str, found: str) -> CredentialsError:
    return CredentialsError(
        "The store refused the credentials, or there are none.",
        where,
        expected="credentials that may list, read and write here",
        found=found,
        next_step="set storage_options (key, secret as ${ENV_NAME}) or the store's own environment variables",
    )


def _of_disk(error: BaseException, where: str, found: str) -> StorageError:
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            "The disk is full; nothing was published.",
            where,
            found=found,
            next_step="make room (`nightscore clean` removes what dead runs left), then run again",
        )
    return StorageError(
        "Reading or writing failed.", where, found=found, next_step="check disk space and rights"
    )


def _source(error: BaseException) -> BaseException | None:
    """The library's own error, which another may be wrapped around."""
    return next((cause for cause in _chain(error) if _is_of_library(cause)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_of_library(error: BaseException) -> bool:
    return type(error).__module__.split(".")[0] in STORE_LIBRARIES
