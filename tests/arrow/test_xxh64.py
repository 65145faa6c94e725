"""XXH64: the hashes of the specification."""

import numpy as np
import pytest

from nightscore.arrow.xxh64 import hash_bytes, hash_words
from tests.support.plain_hashes import plain_xxh64

XXH64 = {
    b"": 0xEF46DB3751D8E999,
    b"a": 0xD24EC4F1A98C6E5B,
    b"abc": 0x44BC2CF5AD770999,
    b"Nobody inspects the spammish repetition": 0xFBCEA83C8A378BF1,
}
"""As the reference implementation has them, with the seed 0."""


@pytest.mark.parametrize("content", XXH64)
def test_bytes_have_the_hash_of_the_specification(content: bytes) -> None:
    matrix = np.frombuffer(content, np.uint8).reshape(1, -1)
    assert hash_bytes(matrix, np.zeros(1, np.uint64)).tolist() == [XXH64[content]]


@pytest.mark.parametrize("length", range(0, 70))
def test_hashes_equal_those_of_plain_python(length: int) -> None:
    rng = np.random.default_rng(length)
    content = rng.integers(0, 256, (3, length), np.uint8)
    seeds = rng.integers(0, 2**64, 3, np.uint64)

    expected = [
        plain_xxh64(bytes(row), int(seed)) for row, seed in zip(content, seeds, strict=True)
    ]
    assert hash_bytes(content, seeds).tolist() == expected


def test_words_are_eight_bytes_the_lowest_first() -> None:
    words, seeds = np.array([7, 2**64 - 1], np.uint64), np.array([0, 5], np.uint64)
    expected = [plain_xxh64(bytes([7, 0, 0, 0, 0, 0, 0, 0])), plain_xxh64(b"\xff" * 8, 5)]
    assert hash_words(words, seeds).tolist() == expected


def test_plain_python_equals_the_package() -> None:
    xxhash = pytest.importorskip("xxhash")
    for length in range(100):
        content = bytes(range(length))
        assert plain_xxh64(content, length) == xxhash.xxh64(content, length).intdigest()
