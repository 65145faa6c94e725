"""Sets rows apart that the job's policy does not let the model see."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_texts
from nightscore.arrow.texts import may_hold_text
from nightscore.engine.value_kinds import KINDS, Cause, Kind, kind_mask
from nightscore.inputs.casts import plain_type, to_mask
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import Policy
from nightscore.schemas.model import ModelFacts

FIELDS: dict[str, str] = {
    "null": "missing",
    "nan": "missing",
    "infinite": "infinite",
    "overflow": "overflow",
    "cast": "cast",
    "not_utf8": "cast",
    "unseen_category": "unseen_category",
}
"""Reason code to the field of the policy that it falls under."""
MESSAGES: dict[Kind, str] = {
    "null": "the value is missing, and policy.missing is {}",
    "nan": "the value is NaN, and policy.missing is {}",
    "infinite": "the value is infinite, and policy.infinite is {}",
    "overflow": "the value is beyond float32, and policy.overflow is {}",
}


def find_rejected(
    features: pa.Table,
    changed: Mapping[str, npt.NDArray[np.bool_]],
    policy: Policy,
    contract: Contract,
    facts: ModelFacts,
) -> dict[int, Cause]:
    """Rows of a batch that the model is not given, with the first cause of each.

    Args:
        features: The model's columns.
        changed: Column to the rows whose value would have changed by the cast, or is no valid text; it is missing in
            `features` there.
        policy: Of the job.
        contract: Which columns are kept besides.
        facts: The categories that the model knows.
    """
    found: dict[int, Cause] = {}
    passing = nulled(changed, policy, contract)
    for column, rows in changed.items():
        if column in passing:
            continue
        _add(found, rows, _why(column, contract))
    for name, column in zip(features.column_names, features.columns, strict=True):
        for kind in KINDS:
            action = getattr(policy, FIELDS[kind])
            bad = kind_mask(column, kind) if action in ("error", "quarantine") else None
            if bad is not None and kind == "null" and name in changed:
                bad = (
                    bad & ~changed[name]
                )  # a value that could not be cast is missing here, and has a policy
            _add(found, bad, (kind, name, MESSAGES[kind].format(action)))
        if policy.unseen_category in ("error", "quarantine") and name in facts.categories:
            message = f"the model was not fitted on this value, and policy.unseen_category is {policy.unseen_category}"
            _add(found, unseen(column, facts.categories[name]), ("unseen_category", name, message))
    return found


def nulled(
    changed: Mapping[str, npt.NDArray[np.bool_]], policy: Policy, contract: Contract
) -> Mapping[str, npt.NDArray[np.bool_]]:
    """Of values that did not cast, those that pass as missing: a key has nothing to pass as."""
    kept = {column.name for column in contract.kept}
    return {
        name: bad for name, bad in changed.items() if policy.cast == "pass" and name not in kept
    }


def unseen(
    column: pa.ChunkedArray, categories: tuple[str | int | float | bool, ...]
) -> npt.NDArray[np.bool_] | None:
    """Where a column has values that are none of the categories; a missing value is none of its own.

    None for a type that no category can be compared with.
    """
    kind = plain_type(column.type)
    numbers = [value for value in categories if not isinstance(value, str) and math.isfinite(value)]
    if pa.types.is_string(kind):
        known = from_texts([str(value) for value in categories])
        column = column.cast(kind)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        kind = pa.uint64() if kind == pa.uint64() else pa.int64()
        least, most = (0, 2**64 - 1) if kind == pa.uint64() else (-(2**63), 2**63 - 1)
        whole = {int(value) for value in numbers if value == int(value)}
        known = pa.array(sorted(value for value in whole if least <= value <= most), kind)
        column = column.cast(kind)
    elif pa.types.is_floating(kind):
        known = pa.array([float(value) for value in numbers], pa.float64())
        column = column.cast(pa.float64())
    else:
        return None
    is_known = pc.is_in(column, known)
    missing = pc.is_null(column, nan_is_null=True)
    return to_mask(pc.and_not(pc.invert(is_known), missing))


def let_pass(policy: Policy) -> frozenset[str]:
    """Fields of the policy under which the model is given the values."""
    passing = {name for name, action in policy.model_dump().items() if action in ("auto", "pass")}
    return frozenset(passing if policy.cast == "pass" else passing - {"cast"})


def forbidden(policy: Policy, by_reason: Mapping[str, int]) -> dict[str, int]:
    """Reasons for which the policy says `error`, with their rows."""
    return {
        reason: count
        for reason, count in by_reason.items()
        if count and reason in FIELDS and getattr(policy, FIELDS[reason]) == "error"
    }


def _why(name: str, contract: Contract) -> Cause:
    """Why values of a column did not cast: of text there is one reason only."""
    kinds = [column.type for column in (*contract.features, *contract.kept) if column.name == name]
    if any(may_hold_text(kind) for kind in kinds):
        return "not_utf8", name, "the text is not valid UTF-8; write it in UTF-8"
    return "cast", name, "the value would change in the type that is wanted"


def _add(found: dict[int, Cause], bad: npt.NDArray[np.bool_] | None, cause: Cause) -> None:
    for row in np.flatnonzero(bad).tolist() if bad is not None else ():
        found.setdefault(row, cause)
