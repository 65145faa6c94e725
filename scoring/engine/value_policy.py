"""Sets rows apart that the job's policy does not let the model see."""

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_texts
from nightscore.arrow.texts import may_hold_text
from nightscore.engine.bad_values import KINDS, Cause, Mask, kind_mask
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
REJECTING = ("error", "quarantine")
"""Actions of the policy under which the model is not given the value."""
MESSAGES: dict[str, str] = {
    "null": "the value is missing, and policy.missing is {}",
    "nan": "the value is NaN, and policy.missing is {}",
    "infinite": "the value is infinite, and policy.infinite is {}",
    "overflow": "the value is beyond float32, and policy.overflow is {}",
    "unseen_category": "the model was not fitted on this value, and policy.unseen_category is {}",
}


def find_rejected(
    features: pa.Table,
    changed: Mapping[str, Mask],
    policy: Policy,
    contract: Contract,
    facts: ModelFacts,
) -> dict[int, Cause]:
    """Rows of a batch that the model is not given, with the first cause of each.

    Args:
        features: The model's columns.
        changed: Rows of each column whose value would have changed by the cast, or is no valid
            text; it is missing in `features` there.
        policy: The job's policy.
        contract: Says which columns are written beside the predictions.
        facts: The categories that the model knows.
    """
    causes: dict[int, Cause] = {}
    nulled = nulled_masks(changed, policy, contract)

    for name, rows in changed.items():
        if name not in nulled:
            _add(causes, rows, _cast_cause(name, contract))

    rejected_kinds = [kind for kind in KINDS if getattr(policy, FIELDS[kind]) in REJECTING]
    rejects_unseen = policy.unseen_category in REJECTING

    for name, column in zip(features.column_names, features.columns, strict=True):
        for kind in rejected_kinds:
            bad = kind_mask(column, kind)
            if bad is not None and kind == "null" and name in changed:
                # A value that could not be cast is missing here, and has a policy of its own.
                bad = bad & ~changed[name]

            message = MESSAGES[kind].format(getattr(policy, FIELDS[kind]))
            _add(causes, bad, (kind, name, message))

        if rejects_unseen and name in facts.categories:
            message = MESSAGES["unseen_category"].format(policy.unseen_category)
            unseen_rows = unseen(column, facts.categories[name])
            _add(causes, unseen_rows, ("unseen_category", name, message))

    return causes


def nulled_masks(
    changed: Mapping[str, Mask], policy: Policy, contract: Contract
) -> Mapping[str, Mask]:
    """Rows of each column whose value did not cast and passes as missing.

    A key has nothing to pass as.
    """
    if policy.cast != "pass":
        return {}
    passthrough = {column.name for column in contract.passthrough}
    return {name: mask for name, mask in changed.items() if name not in passthrough}


def unseen(
    column: pa.ChunkedArray, categories: tuple[str | int | float | bool, ...]
) -> Mask | None:
    """Where a column has values that are none of the categories.

    A missing value is no category and is not unseen either. None for a type that no category can be
    compared with.
    """
    compared_type = _compared_type(plain_type(column.type))
    if compared_type is None:
        return None

    column = column.cast(compared_type)

    is_known = pc.is_in(column, _known_values(categories, compared_type))
    is_missing = pc.is_null(column, nan_is_null=True)

    return to_mask(pc.and_not(pc.invert(is_known), is_missing))


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


def _compared_type(arrow_type: pa.DataType) -> pa.DataType | None:
    """The type in which values and categories are compared; None: there is none."""
    if pa.types.is_string(arrow_type):
        return arrow_type
    if arrow_type == pa.uint64():
        return pa.uint64()
    if pa.types.is_boolean(arrow_type) or pa.types.is_integer(arrow_type):
        return pa.int64()
    return pa.float64() if pa.types.is_floating(arrow_type) else None


def _known_values(
    categories: tuple[str | int | float | bool, ...], compared_type: pa.DataType
) -> pa.Array:
    """The categories that the type can hold."""
    if pa.types.is_string(compared_type):
        return from_texts([str(value) for value in categories])

    numbers = [value for value in categories if not isinstance(value, str) and math.isfinite(value)]

    if pa.types.is_floating(compared_type):
        return pa.array([float(value) for value in numbers], pa.float64())

    least, most = (0, 2**64 - 1) if compared_type == pa.uint64() else (-(2**63), 2**63 - 1)
    whole = {int(value) for value in numbers if value == int(value)}

    return pa.array(sorted(value for value in whole if least <= value <= most), compared_type)


def _cast_cause(name: str, contract: Contract) -> Cause:
    """Why values of a column did not cast; for text there is one reason only."""
    for column in (*contract.features, *contract.passthrough):
        if column.name == name and may_hold_text(column.type):
            return "not_utf8", name, "the text is not valid UTF-8; write it in UTF-8"
    return "cast", name, "the value would change in the type that is wanted"


def _add(causes: dict[int, Cause], bad: Mask | None, cause: Cause) -> None:
    if bad is not None:
        for row in np.flatnonzero(bad).tolist():
            causes.setdefault(row, cause)
