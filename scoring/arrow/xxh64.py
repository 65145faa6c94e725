"""XXH64 of many values at once.

Source: Y. Collet, "xxHash fast digest algorithm, version 0.1.1" (specification, 2018), XXH64.
"""

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)


def hash_words(words: Hashes, seeds: Hashes) -> Hashes:
    """XXH64 of the eight bytes of each little-endian integer.

    Args:
        words: Shape (n,).
        seeds: Of each of them, shape (n,).
    """
    with np.errstate(over="ignore"):
        state = seeds + (_P5 + np.uint64(8))
        return _avalanche(_add_word(state, words))


def hash_bytes(content: Bytes, seeds: Hashes) -> Hashes:
    """XXH64 of byte strings that all have one length.

    Args:
        content: Shape (n, length).
        seeds: Of each of them, shape (n,).
    """
    n_bytes = content.shape[1]
    n_words = n_bytes // 8
    words = np.ascontiguousarray(content[:, : 8 * n_words]).view("<u8")
    n_striped = n_words // 4 * 4

    with np.errstate(over="ignore"):
        state = _stripes(words[:, :n_striped], seeds) if n_striped else seeds + _P5
        state = state + np.uint64(n_bytes)

        for column in range(n_striped, n_words):
            state = _add_word(state, words[:, column])

        place = 8 * n_words
        if n_bytes - place >= 4:
            four = np.ascontiguousarray(content[:, place : place + 4]).view("<u4")[:, 0]
            state ^= four.astype(np.uint64) * _P1
            state = _rotate(state, 23) * _P2 + _P3
            place += 4

        for column in range(place, n_bytes):
            state ^= content[:, column].astype(np.uint64) * _P5
            state = _rotate(state, 11) * _P1

        return _avalanche(state)


def _stripes(words: Hashes, seeds: Hashes) -> Hashes:
    """The state after all whole blocks of 32 bytes."""
    lanes = [seeds + _P1 + _P2, seeds + _P2, seeds.copy(), seeds - _P1]

    for column in range(words.shape[1]):
        lanes[column % 4] = _round(lanes[column % 4], words[:, column])

    rotated = zip(lanes, (1, 7, 12, 18), strict=True)
    state: Hashes = np.sum([_rotate(lane, n_bits) for lane, n_bits in rotated], axis=0)
    for lane in lanes:
        state = (state ^ _round(np.zeros_like(lane), lane)) * _P1 + _P4

    return state


def _round(lane: Hashes, words: Hashes) -> Hashes:
    mixed = words * _P2
    mixed += lane
    return _rotate_and_multiply(mixed, 31)


def _add_word(state: Hashes, words: Hashes) -> Hashes:
    """The state with eight bytes more. Arrays are changed in place: fresh ones cost more."""
    mixed = _rotate_and_multiply(words * _P2, 31)
    mixed ^= state
    mixed = _rotate_and_multiply(mixed, 27)
    mixed += _P4
    return mixed


def _rotate(values: Hashes, n_bits: int) -> Hashes:
    rotated = values << np.uint64(n_bits)
    rotated |= values >> np.uint64(64 - n_bits)
    return rotated


def _rotate_and_multiply(values: Hashes, n_bits: int) -> Hashes:
    """The values rotated, times the first prime, in their place."""
    left = values << np.uint64(n_bits)
    values >>= np.uint64(64 - n_bits)
    values |= left
    values *= _P1
    return values


def _avalanche(state: Hashes) -> Hashes:
    for n_bits, prime in ((33, _P2), (29, _P3)):
        state ^= state >> np.uint64(n_bits)
        state *= prime
    state ^= state >> np.uint64(32)
    return state
