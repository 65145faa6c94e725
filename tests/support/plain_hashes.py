"""XXH64 in plain Python, and rows' hashes by it, as an online service would write them.

It shares no code with the package.
"""

import struct
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

Key: TypeAlias = int | float | str | bytes | Decimal | date | None

_MASK = 2**64 - 1
_P1, _P2, _P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P4, _P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def plain_assignment(salt: str, keys: Sequence[Key], share: float) -> bool:
    """Whether a row is in the challenger's arm."""
    hashed = plain_xxh64(salt.encode())
    for key in keys:
        kind, content = _canonical(key)
        hashed = plain_xxh64(content, (hashed + kind) % 2**64)
    return hashed < share * 2**64


def plain_xxh64(content: bytes, seed: int = 0) -> int:
    """XXH64 of some bytes."""
    place, n_bytes = 0, len(content)
    if n_bytes < 32:
        state = seed + _P5
    else:
        lanes = [seed + _P1 + _P2, seed + _P2, seed, seed - _P1]
        while n_bytes - place >= 32:
            for lane, word in enumerate(struct.unpack_from("<4Q", content, place)):
                lanes[lane] = _round(lanes[lane], word)
            place += 32
        state = sum(_rotate(lane, n) for lane, n in zip(lanes, (1, 7, 12, 18), strict=True))
        for lane in lanes:
            state = (state ^ _round(0, lane)) * _P1 + _P4

    state += n_bytes
    for (word,) in struct.iter_unpack("<Q", content[place : n_bytes - (n_bytes - place) % 8]):
        state = _rotate(state ^ _round(0, word), 27) * _P1 + _P4
        place += 8

    if n_bytes - place >= 4:
        four = int.from_bytes(content[place : place + 4], "little")
        state = _rotate(state ^ (four * _P1 & _MASK), 23) * _P2 + _P3
        place += 4

    for byte in content[place:]:
        state = _rotate(state ^ (byte * _P5 & _MASK), 11) * _P1

    state &= _MASK
    state = (state ^ (state >> 33)) * _P2 & _MASK
    state = (state ^ (state >> 29)) * _P3 & _MASK
    return state ^ (state >> 32)


def _round(lane: int, word: int) -> int:
    return _rotate(lane + word * _P2, 31) * _P1 & _MASK


def _rotate(value: int, n_bits: int) -> int:
    value &= _MASK
    return (value << n_bits | value >> (64 - n_bits)) & _MASK


def _canonical(key: Key) -> tuple[int, bytes]:
    """The kind of a value and its bytes."""
    if key is None:
        return 1, bytes(8)
    if isinstance(key, int):
        return 4 if isinstance(key, bool) else 2, struct.pack("<Q", key % 2**64)
    if isinstance(key, float):
        return 3, struct.pack("<d", key + 0.0)
    if isinstance(key, date):
        return _canonical_time(key)
    if isinstance(key, Decimal):
        return 7, format(key.normalize(), "f").encode()
    return 7, key if isinstance(key, bytes) else key.encode()


def _canonical_time(key: date) -> tuple[int, bytes]:
    if isinstance(key, datetime):
        epoch = datetime(1970, 1, 1, tzinfo=key.tzinfo)
        return 6, struct.pack("<q", (key - epoch) // timedelta(microseconds=1))
    return 5, struct.pack("<q", (key - date(1970, 1, 1)).days)
