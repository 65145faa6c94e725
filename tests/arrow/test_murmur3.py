"""MurmurHash3: the hashes of its reference implementation."""

import numpy as np
import pytest

from nightscore.arrow.murmur3 import murmur3_32

KNOWN = {
    (b"", 0): 0,
    (b"", 1): 0x514E28B7,
    (b"test", 0): 0xBA6BD213,
    (b"Hello, world!", 0): 0xC0363E43,
    (b"aaa", 0x9747B28C): 0x283E0130,
    (b"ab", 0x9747B28C): 0x74875592,
    (b"The quick brown fox jumps over the lazy dog", 0x9747B28C): 0x2FA826CD,
}


@pytest.mark.parametrize(("content", "seed"), KNOWN)
def test_bytes_have_the_known_hash(content: bytes, seed: int) -> None:
    matrix = np.frombuffer(content, np.uint8).reshape(1, -1)
    assert murmur3_32(matrix, np.array([seed], np.uint64)).tolist() == [KNOWN[content, seed]]
