"""MurmurHash3 of many values at once, in its variant of 32 bits (x86).

Source: A. Appleby, MurmurHash3, `MurmurHash3_x86_32` (public domain, 2011).
"""

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

_C1 = np.uint32(0xCC9E2D51)
_C2 = np.uint32(0x1B873593)
_ADDED = np.uint32(0xE6546B64)
WORD_BYTES = 4


def murmur3_32(content: npt.NDArray[np.uint8], seeds: npt.NDArray[np.uint64]) -> Words:
    """The hashes of byte strings that all have one length, uint32 of shape (n,).

    Args:
        content: Shape (n, length).
        seeds: Of each of them, below 2^32, shape (n,).
    """
    n_bytes = content.shape[1]
    n_whole = n_bytes // WORD_BYTES * WORD_BYTES
    words = np.ascontiguousarray(content[:, :n_whole]).view("<u4")
    state = seeds.astype(np.uint32)

    with np.errstate(over="ignore"):
        for column in range(words.shape[1]):
            state = _rotate(state ^ _scramble(words[:, column]), 13)
            state = state * np.uint32(5) + _ADDED

        if n_whole < n_bytes:
            state ^= _scramble(_last_word(content[:, n_whole:]))

        return _finish(state ^ np.uint32(n_bytes))


def _last_word(content: npt.NDArray[np.uint8]) -> Words:
    """The one to three bytes that fill no word."""
    word = np.zeros(len(content), np.uint32)
    for place in range(content.shape[1]):
        word |= content[:, place].astype(np.uint32) << np.uint32(8 * place)
    return word


def _scramble(words: Words) -> Words:
    return _rotate(words * _C1, 15) * _C2


def _rotate(words: Words, n_bits: int) -> Words:
    rotated: Words = (words << np.uint32(n_bits)) | (words >> np.uint32(32 - n_bits))
    return rotated


def _finish(state: Words) -> Words:
    """All bits of the result depend on all bits of the state."""
    for n_bits, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = state ^ (state >> np.uint32(n_bits))
        state = state * np.uint32(factor)
    return state ^ (state >> np.uint32(16))
