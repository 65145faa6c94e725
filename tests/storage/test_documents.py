"""YAML and JSON of others: what would never end, or fill the memory, is refused with its place."""

import pytest

from nightscore.storage.documents import DocumentError, read_json, read_yaml

NESTED = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))
LONG = "x" * 1_000_000

REFUSED = {
    "a bomb of aliases": (f"a0: &a0 [x]\n{NESTED}", "aliases written out"),
    "a long text, many times": (
        f"a: &a {LONG}\nb: [{', '.join(['*a'] * 90)}]",
        "aliases written out",
    ),
    "many values": ("[" + "a," * 250_000 + "]", "at most 200,000 values"),
    "a list that holds itself": (
        "a: &a [1, *a]",
        "line 1, column 11: the alias a stands for a value that holds it",
    ),
    "a mapping that holds itself": ("a: &a\n  b: {c: *a}", "line 2, column 10: the alias a"),
    "deep lists": ("[" * 100_000, "nested more than 64 times"),
    "deep keys": ("? " * 100_000, "nested more than 64 times"),
    "a number without end": (
        f"a: {'9' * 5_000}",
        "line 1, column 4: expected at most 100 characters",
    ),
    "sixties without end": (
        "a: 1" + ":1" * 300_000,
        "line 1, column 4: expected at most 100 characters",
    ),
    "no such day": ("a: 2024-99-99", "line 1, column 4: the value is no timestamp"),
    "a text as a number": ("a: !!int abc", "line 1, column 4: the value is no int"),
    "no digits": ("a: !!int ''", "the value is no int"),
    "a text as a boolean": ("a: !!bool x", "the value is no bool"),
    "a text as a time": ("a: !!timestamp x", "the value is no timestamp"),
    "a text as a mapping": ("a: !!map b", "the value is no mapping"),
    "a key twice": ("a: 1\nb: 2\na: 3", "line 3, column 1: the key a is given twice"),
    "a key twice below": ("a:\n  b: 1\n  b: 2", "line 3, column 3: the key b is given twice"),
    "a list as a key": ("? [a]\n: 1", "line 1, column 3: a list or a mapping stands where a key"),
    "an object": (
        "a: !!python/object/apply:os.system [ls]",
        "line 1, column 4: a value that begins with !",
    ),
    "two documents": ("a: 1\n---\nb: 2", "line 2, column 1: a second document begins here"),
    "an unknown alias": ("a: *b", "line 1, column 4: a value that begins with *"),
    "a control character": (
        "a: \x01",
        "line 1, column 4: a character that cannot be printed (U+0001)",
    ),
}
SLIPS = {
    "a tab": ("a:\n\tb: 1", "line 2, column 1: this line is indented with a tab"),
    "an open quote": ('a: "b\nc: d', "line 1, column 4: the quote that opens here is never closed"),
    "a backslash": ('a: "C:\\data"', "line 1, column 4: a backslash in double quotes"),
    "an open list": ("a: [b\nc: d", "line 1, column 4: the [ that opens here has no ]"),
    "an open mapping": ("a: {b: 1\nc: d", "line 1, column 4: the { that opens here has no }"),
    "braces": ("a: {b: ${C}/d}", "line 1, column 4: the { that opens here has no }"),
    "no space": (
        "a: b\nc:d\n# no key\ne: f",
        "line 2, column 3: a space is missing after the colon of c",
    ),
    "no space below": (
        "a:\n  b:c\n  d: e",
        "line 2, column 5: a space is missing after the colon of b",
    ),
    "an equals sign": ("a: b\nc = d", "line 2, column 3: c has an equals sign"),
    "a colon": ("a: b: c", "line 1, column 5: the value of a has a colon and a space"),
    "too deep": ("a: b\n  c: d", "line 2, column 3: this line is indented more than the one above"),
    "uneven": (
        "a:\n    b: c\n  d: e",
        "line 3, column 3: this line is indented like no line above",
    ),
    "an item": ("a:\n  b: c\n  - d", "line 3, column 3: an item of a list"),
    "a text after a quote": ('a: "b" c', "line 1, column 8: text follows the closing quote"),
    "an at sign": ("a: @b", "line 1, column 4: a value cannot begin with @"),
    "a directive": ("%Y: b", "a line cannot begin with %"),
    "a template": ("a: {{ b }}", "line 1, column 5: {{ opens a mapping in a mapping"),
    "a block": ("a: | b", "line 1, column 6: nothing may follow | or >"),
    "a lonely line": ("a: b\n? \nc", "line 3, column 1: this line has no key"),
}
"""What people get wrong, and where and how it is told."""


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_is_told_in_plain_words_at_its_place(name: str) -> None:
    text, told = SLIPS[name]
    with pytest.raises(DocumentError) as caught:
        read_yaml(text.encode())
    assert told in str(caught.value)
    parsers_words = ("scanning", "parsing", "token", "scalar", "construct")
    assert not any(words in str(caught.value) for words in parsers_words)


@pytest.mark.parametrize("name", REFUSED)
def test_yaml_beyond_the_bounds_is_refused_with_its_place(name: str) -> None:
    text, expected = REFUSED[name]
    with pytest.raises(DocumentError) as caught:
        read_yaml(text.encode())
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 500


def test_yaml_within_the_bounds_is_read() -> None:
    text = (
        "a: &a {b: [1, 2.5, true, null, 2024-02-29]}\nc: *a\nd: {<<: *a, e: f}\ng: '"
        + "9" * 500
        + "'"
    )
    document = read_yaml(text.encode())
    assert document["c"] == document["a"]
    assert document["d"] == {**document["a"], "e": "f"}
    assert document["g"] == "9" * 500


def test_an_error_of_yaml_quotes_no_value() -> None:
    with pytest.raises(DocumentError) as caught:
        read_yaml(b"uri: s3://lake\nsecret: canary: x\n")
    assert "canary" not in str(caught.value)
    assert "line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b"1" * 5_000, "too many digits"),
        (b'{"a": ', "line 1, column 7"),
        (b'"\\ud800"', "half a surrogate pair"),
        (b"\xff", "byte 0: no UTF-8 text"),
        (b"[" + b" " * 200, "at most 100 bytes"),
    ],
)
def test_json_beyond_the_bounds_is_refused_with_its_place(content: bytes, expected: str) -> None:
    with pytest.raises(DocumentError, match=expected):
        read_json(content, 100 if b" " * 200 in content else 1 << 20)
