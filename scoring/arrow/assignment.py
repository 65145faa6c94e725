"""Which rows a challenger scores: by a hash of their keys, so that a key stays in its arm.

A row is in the challenger's arm if its hash is below share x 2^64. The hash is that of
`row_hashes`, which begins at XXH64 of the salt (UTF-8, seed 0). So an arm of 5 % is within one of
10 % with the same salt, arms of two salts are independent, and neither partitions nor machines nor
versions count. Of a key of one text an online service computes:

    seed = (xxh64(salt) + 7) % 2**64
    is_challenger = xxh64(key, seed) < share * 2**64

With `hash: flagd` the arms are those of flagd's `fractional` (since the version that computes
(hash x total weight) >> 32), where the challenger's variant is listed first and the flag's key is
the salt: MurmurHash3 (x86, 32 bits, seed 0) of the salt and the key is below share x 2^32.
"""

import math
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_texts
from nightscore.arrow.murmur3 import murmur3_32
from nightscore.arrow.row_hashes import BLOCK_ROWS, Column, hash_texts, row_hashes
from nightscore.arrow.xxh64 import Bytes, Hashes, hash_bytes
from nightscore.schemas.canary import CanaryRecord

Arm = npt.NDArray[np.bool_]
HashName: TypeAlias = Literal["xxh64", "flagd"]

HASH_BITS: dict[HashName, int] = {"xxh64": 64, "flagd": 32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A rule that assigns rows to the challenger's arm."""

    by: tuple[str, ...]
    """Key columns, in the order in which they are hashed. Another order is another assignment."""
    salt: str
    share: float
    """Of the keys, 0 to 1, that the challenger scores."""
    hash: HashName = "xxh64"

    @classmethod
    def of(cls, canary: CanaryRecord) -> Self:
        """The rule by which a recorded canary assigns its rows."""
        return cls(by=canary.by, salt=canary.salt, share=canary.share, hash=canary.hash)

    def arm(self, rows: pa.Table) -> Arm:
        """Which rows are the challenger's, shape (n,).

        All rows whose keys are null have one hash, and so are in one arm. By flagd, which has no
        hash of null, they are the champion's.

        Args:
            rows: Has the key columns, of types that `assignment_problems` does not name.
        """
        columns = [rows.column(name) for name in self.by]

        if self.hash == "flagd":
            is_below = _below(_flagd_hashes(columns[0], self.salt), self.share, 32)
            is_known: Arm = columns[0].is_valid().to_numpy()
            return is_below & is_known

        return _below(row_hashes(columns, salt_hash(self.salt)), self.share, 64)


def salt_hash(salt: str) -> int:
    """XXH64 of the salt's UTF-8, with which the hashes of its rows begin."""
    content = np.frombuffer(salt.encode(), np.uint8).reshape(1, -1)
    return int(hash_bytes(content, np.zeros(1, np.uint64))[0])


def assignment_problems(assignment: Assignment, schema: pa.Schema) -> list[str]:
    """Why rows cannot be assigned, a sentence each; none: they can.

    Args:
        assignment: The rule.
        schema: Of the rows.
    """
    missing = [name for name in assignment.by if name not in schema.names]
    problems = [
        f"Rows are assigned by {name!r}, which the input does not have." for name in missing
    ]

    for name in assignment.by:
        if name in missing:
            continue

        arrow_type = schema.field(name).type
        if not _is_assignable(arrow_type, assignment.hash):
            problems.append(
                f"Rows cannot be assigned by {name!r}, which is {arrow_type}: "
                f"{_TYPES_OF[assignment.hash]}."
            )

    if assignment.hash == "flagd" and len(assignment.by) > 1:
        problems.append("flagd assigns by one key: name one column, or use `hash: xxh64`.")

    return problems


_TYPES_OF: dict[HashName, str] = {
    "xxh64": "keys are integers, floats, booleans, decimals, dates, timestamps, texts or bytes",
    "flagd": "flagd's keys are texts or integers",
}


def _is_assignable(arrow_type: pa.DataType, hash_name: HashName) -> bool:
    """Whether canonical bytes are defined for such values."""
    types = pa.types
    if types.is_dictionary(arrow_type):
        return _is_assignable(arrow_type.value_type, hash_name)

    kinds = [types.is_integer, types.is_string, types.is_large_string]
    if hash_name == "xxh64":
        kinds += [types.is_floating, types.is_boolean, types.is_decimal, types.is_date]
        kinds += [types.is_timestamp, types.is_null]
        kinds += [types.is_binary, types.is_large_binary, types.is_fixed_size_binary]

    return any(is_kind(arrow_type) for is_kind in kinds)


def _below(hashes: Hashes, share: float, n_bits: int) -> Arm:
    """Which hashes are below that share of all 2^n_bits."""
    # Scaling a float by a power of two is exact, and so is rounding up: hashes are whole.
    limit = math.ceil(math.ldexp(share, n_bits))
    if limit >= 2**n_bits:
        return np.ones(len(hashes), np.bool_)
    return hashes < np.uint64(limit)


def _flagd_hashes(column: Column, salt: str) -> Hashes:
    """MurmurHash3 of the salt and the key as text. That of a null does not count."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)

    prefix, nothing = from_texts([salt, ""]).cast(pa.large_string())
    parts = [np.empty(0, np.uint64)]

    for first in range(0, len(column), BLOCK_ROWS):
        keys = column.slice(first, BLOCK_ROWS).cast(pa.large_string())
        texts = pc.binary_join_element_wise(prefix, keys, nothing)
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()

        seeds = np.zeros(len(texts), np.uint64)
        parts.append(hash_texts(texts, seeds, _murmur3))

    return np.concatenate(parts)


def _murmur3(content: Bytes, seeds: Hashes) -> Hashes:
    return murmur3_32(content, seeds).astype(np.uint64)
