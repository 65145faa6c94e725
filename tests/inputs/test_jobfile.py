"""Job files: a wrong one is answered with place, accepted forms and the fix; short forms count."""

import json
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic_core._pydantic_core import list_all_errors

from nightscore.errors import InvalidJobError
from nightscore.inputs.job_fields import Field, field_at, field_below
from nightscore.inputs.jobfile import load_job, parse_job
from nightscore.schemas.job import ScoringJob, json_schema
from nightscore.schemas.problem import KeyPath
from nightscore.storage.document_positions import DocumentPositions
from nightscore.storage.documents import MAX_VALUES, read_yaml

HEAD = "name: late\nmodel: models:/late/3\ninput: {uri: lake/in}\noutput: {uri: lake/out}\n"
"""Four lines of a job that is right."""

CHOICES = "one of auto, error, quarantine, pass"
SIZES = "at least 64MiB, as a size such as 512MB or 2GiB, or as a number of bytes, or null"
SHARES = "a share from 0 to 1, such as 0.05, or 5%"
NAMES = "a list of column names, such as [origin, dest], or one name"
MODELS = "models:/<name>/<version>, models:/<name>@<alias> or models:/m-<id>"
TOP = ", ".join(ScoringJob.model_fields)
PLACES = "a path, a URL, or a mapping with the key uri"

WRONG: dict[str, tuple[str, list[str]]] = {
    # Keys
    "a misspelt key": (
        HEAD + "polcy: {missing: error}",
        ["line 5, column 1: polcy: unknown key; did you mean policy?"],
    ),
    "a misspelt key of a section": (
        HEAD + "gates:\n  null_rate:\n    maks: 0.1\n    max: 0.2",
        ["line 7, column 5: gates.null_rate.maks: unknown key; did you mean max?"],
    ),
    "a key of a section at the top": (
        HEAD + "memory_bytes: 2GiB",
        ["line 5, column 1: memory_bytes: unknown key; did you mean memory_bytes below limits?"],
    ),
    "a key of the top in a section": (
        HEAD + "limits:\n  engine: library",
        [
            "line 6, column 3: limits.engine: unknown key; "
            "did you mean engine at the top, without indentation?"
        ],
    ),
    "a key in capitals": (
        HEAD + "Policy: {missing: error}",
        ["line 5, column 1: Policy: unknown key; did you mean policy?"],
    ),
    "what other tools call a key": (
        HEAD.replace("{uri: lake/in}", "{path: lake/in}"),
        [
            "line 3, column 1: input.uri: is missing; expected a path or a URL",
            "line 3, column 9: input.path: unknown key; did you mean uri?",
        ],
    ),
    "a key that is like no other": (
        HEAD + "workers: {zzz: 1}",
        ["line 5, column 11: workers.zzz: unknown key; known keys: backend, count, address"],
    ),
    "a number as a key": (
        HEAD + "limits: {1: 2}",
        [
            "line 5, column 10: limits.1: unknown key; known keys: max_quarantined_rows, "
            "max_quarantined_share, memory_bytes, shard_minutes"
        ],
    ),
    "nothing but a name": (
        "# a job\n\nname: late",
        [
            f"line 3, column 1: model: is missing; expected {MODELS}",
            f"line 3, column 1: input: is missing; expected {PLACES}",
            f"line 3, column 1: output: is missing; expected {PLACES}",
        ],
    ),
    "a section without its value": (
        HEAD + "gates:\n  score_shift: {action: hold}",
        ["line 6, column 3: gates.score_shift.max: is missing; expected a number above 0"],
    ),
    "keys that YAML converts": (
        HEAD + "true: 5\nnull: 5\n2024-01-01: 5\nlimits: {no: 1}",
        [
            "line 5, column 1: true: unknown key; known keys: " + TOP,
            "line 6, column 1: null: unknown key; known keys: " + TOP,
            "line 7, column 1: 2024-01-01: unknown key; known keys: " + TOP,
            "line 8, column 10: limits.no: unknown key; known keys: max_quarantined_rows, "
            "max_quarantined_share, memory_bytes, shard_minutes",
        ],
    ),
    "numbers with commas": (
        HEAD + "limits: {max_quarantined_rows: 1,000, max_quarantined_share: 0,05}",
        [
            "line 5, column 34: limits.000: unknown key; a comma begins a new key; write 1000",
            "line 5, column 64: limits.05: unknown key; a comma begins a new key; write 0.05",
        ],
    ),
    "a section that is not indented": (
        HEAD.replace("{uri: lake/in}", "\nuri: lake/in\npartition_key: day"),
        [
            f"line 3, column 7: input: expected {PLACES}; found nothing",
            "line 4, column 1: uri: unknown key; it belongs below input; indent it",
            "line 5, column 1: partition_key: unknown key; it belongs below input; indent it",
        ],
    ),
    "everything below a key of its own": (
        "job:\n  " + HEAD.strip().replace("\n", "\n  "),
        [
            "line 1, column 1: job: unknown key; move the keys below it to the top, without "
            "indentation",
        ],
    ),
    "a comment of another language": (
        '{"name": "late", "model": "models:/late/3", "input": "in", /* to */ "output": "out"}',
        [
            f"line 1, column 1: output: is missing; expected {PLACES}",
            'line 1, column 60: /* to */ "output": unknown key; a comment begins with #',
        ],
    ),
    # The kind of a value
    "a text for a number": (
        HEAD + "limits:\n  max_quarantined_rows: few",
        [
            "line 6, column 25: limits.max_quarantined_rows: expected a whole number of at least "
            "0; found the text few"
        ],
    ),
    "thousands with commas": (
        HEAD + 'limits:\n  max_quarantined_rows: "10,000"',
        [
            "line 6, column 25: limits.max_quarantined_rows: expected a whole number of at least "
            "0; found the text 10,000; did you mean 10000?"
        ],
    ),
    "half a row": (
        HEAD + "limits: {max_quarantined_rows: 2.5}",
        [
            "line 5, column 32: limits.max_quarantined_rows: expected a whole number of at least "
            "0; found 2.5"
        ],
    ),
    "a negative number": (
        HEAD + "limits: {max_quarantined_rows: -1}",
        [
            "line 5, column 32: limits.max_quarantined_rows: expected a whole number of at least "
            "0; found -1"
        ],
    ),
    "no worker": (
        HEAD + "workers: {count: 0}",
        [
            "line 5, column 18: workers.count: expected a whole number of at least 1, or null; "
            "found 0"
        ],
    ),
    "no worker, in short": (
        HEAD + "workers: 0",
        [
            "line 5, column 10: workers.count: expected a whole number of at least 1, or null; "
            "found 0"
        ],
    ),
    "workers in words": (
        HEAD + "workers: all",
        [
            "line 5, column 10: workers: expected a number of workers, or a mapping with the keys "
            "backend, count and address; found a text"
        ],
    ),
    "a number without end": (
        HEAD + "gates: {score_shift: {max: .inf}}",
        ["line 5, column 28: gates.score_shift.max: expected a number above 0; found .inf"],
    ),
    "no time at all": (
        HEAD + "limits: {shard_minutes: 0}",
        ["line 5, column 25: limits.shard_minutes: expected a number above 0; found 0"],
    ),
    "perhaps": (
        HEAD + "allow_pickle: perhaps",
        ["line 5, column 15: allow_pickle: expected true or false; found the text perhaps"],
    ),
    "a year as a name": (
        HEAD.replace("late\n", "2024\n", 1),
        [
            "line 1, column 7: name: expected letters, digits, `_`, `-` and `.`, at most 100 of "
            'them, beginning with a letter or a digit; found 2024; put it into quotes: "2024"'
        ],
    ),
    "a name with a space": (
        HEAD.replace("late\n", "too late\n", 1),
        [
            "line 1, column 7: name: expected letters, digits, `_`, `-` and `.`, at most 100 of "
            "them, beginning with a letter or a digit; found the text too late; did you mean "
            "too_late?"
        ],
    ),
    "a number as a time": (
        HEAD + "keys: id\nlabels: {uri: labels, column: late, matured_after: 7}",
        [
            "line 6, column 52: labels.matured_after: expected a time such as 90m, 12h, 7d or 2w; "
            "found 7"
        ],
    ),
    "a date as a name": (
        HEAD + "pass_through: [2024-02-29]",
        [
            "line 5, column 16: pass_through[0]: expected the name of a column; found 2024-02-29, "
            'which YAML reads as a date; put it into quotes: "2024-02-29"'
        ],
    ),
    "Norway": (
        HEAD + "drift:\n  segments: [se, no]",
        [
            "line 6, column 18: drift.segments[1]: expected the name of a column; found no, which "
            'YAML reads as false; put it into quotes: "no"'
        ],
    ),
    "a time of day": (
        HEAD + "features: [12:30]",
        [
            "line 5, column 12: features[0]: expected the name of a column; found 12:30, which "
            'YAML reads as the number 750; put it into quotes: "12:30"'
        ],
    ),
    "an empty name": (
        HEAD + 'keys: [id, ""]',
        ["line 5, column 12: keys.columns[1]: expected the name of a column; found an empty text"],
    ),
    "names without brackets": (
        HEAD + "keys: id, day",
        [
            "line 5, column 7: keys: expected one name, or several in brackets, such as "
            "[origin, dest]"
        ],
    ),
    "a number as a key column": (
        HEAD + "keys: 5",
        [
            "line 5, column 7: keys: expected the name of a column, a list of names, or a mapping "
            "with the key columns; found 5"
        ],
    ),
    "a mapping for a list": (
        HEAD + "pass_through: {a: b}",
        [f"line 5, column 15: pass_through: expected {NAMES}; found a mapping"],
    ),
    "a list for a mapping": (
        HEAD + "policy:\n  - missing: error",
        [
            "line 6, column 3: policy: expected a mapping with the keys missing, infinite, "
            "overflow, cast, unseen_category; found a list; write its keys without dashes in front"
        ],
    ),
    "an empty section": (
        HEAD + "limits:",
        [
            "line 5, column 8: limits: expected a mapping with the keys max_quarantined_rows, "
            "max_quarantined_share, memory_bytes, shard_minutes; found nothing"
        ],
    ),
    "a number for a path": (
        HEAD.replace("{uri: lake/in}", "7"),
        [f"line 3, column 8: input: expected {PLACES}; found 7"],
    ),
    # What YAML and other readers convert on the way
    "yes for a number": (
        HEAD + "limits: {max_quarantined_rows: yes, shard_minutes: 'on'}",
        [
            "line 5, column 32: limits.max_quarantined_rows: expected a whole number of at least "
            "0; found yes, which YAML reads as true; write a number",
            "line 5, column 52: limits.shard_minutes: expected a number above 0; found the text on",
        ],
    ),
    "numbers in quotes": (
        HEAD + "limits: {max_quarantined_rows: '0100'}\ngates: {rows: {min_ratio: '2'}}",
        [
            "line 5, column 32: limits.max_quarantined_rows: expected a whole number of at least "
            "0; found the text 0100; did you mean 100?",
            "line 6, column 27: gates.rows.min_ratio: expected a ratio of at least 0, such as "
            "0.5, or 50%, or null; found the text 2; write it without quotes: 2",
        ],
    ),
    "flags that are none": (
        HEAD + "allow_pickle: 1\nkeys: {columns: id, unique: 'yes'}\ndrift: {profile: 0}",
        [
            "line 5, column 15: allow_pickle: expected true or false; found 1; write true, without "
            "quotes",
            "line 6, column 29: keys.unique: expected true or false; found the text yes; write "
            "true, without quotes",
            "line 7, column 18: drift.profile: expected true or false; found 0; write false, "
            "without quotes",
        ],
    ),
    "numbers in other bases": (
        HEAD.replace("lake/in", "lake/in, storage_options: {account: 0123}")
        + "limits: {max_quarantined_rows: 010, shard_minutes: 1:30}\nworkers: 010",
        [
            "line 3, column 50: input.storage_options.account: expected quotes around a number "
            "that begins with 0 or has a colon",
            "line 5, column 32: limits.max_quarantined_rows: expected a whole number of at least "
            "0; found 010, which YAML reads in base 8 as 8; write 10",
            "line 5, column 52: limits.shard_minutes: expected a number above 0; found 1:30, "
            "which YAML reads in base 60; write the number without a colon",
            "line 6, column 10: workers.count: expected a whole number of at least 1, or null; "
            "found 010, which YAML reads in base 8 as 8; write 10",
        ],
    ),
    # Sizes, shares and choices
    "a size in words": (
        HEAD + "limits: {memory_bytes: plenty}",
        [f"line 5, column 24: limits.memory_bytes: expected {SIZES}; found the text plenty"],
    ),
    "a size with two meanings": (
        HEAD + "limits: {memory_bytes: 2G}",
        [
            "line 5, column 24: limits.memory_bytes: 2G has two meanings; write 2GB "
            "(2,000,000,000 bytes) or 2GiB (2,147,483,648 bytes)"
        ],
    ),
    "a size without its unit": (
        HEAD + "limits: {memory_bytes: 2}",
        [f"line 5, column 24: limits.memory_bytes: expected {SIZES}; found 2; did you mean 2GiB?"],
    ),
    "a size that is too small": (
        HEAD + "limits: {memory_bytes: 1MB}",
        [f"line 5, column 24: limits.memory_bytes: expected {SIZES}; found 1MB"],
    ),
    "a share without its sign": (
        HEAD + "limits: {max_quarantined_share: 5}",
        [
            f"line 5, column 33: limits.max_quarantined_share: expected {SHARES}; found 5; did you "
            "mean 5%?"
        ],
    ),
    "a share with a comma": (
        HEAD + 'limits: {max_quarantined_share: "0,05"}',
        [
            f"line 5, column 33: limits.max_quarantined_share: expected {SHARES}; found the text "
            "0,05; did you mean 0.05?"
        ],
    ),
    "more than everything": (
        HEAD + "gates: {null_rate: {max: 0.1, columns: {a: 120%}}}",
        [f"line 5, column 44: gates.null_rate.columns.a: expected {SHARES}; found 120%"],
    ),
    "a choice in another language": (
        HEAD + "policy: {missing: quarantaine}",
        [
            f"line 5, column 19: policy.missing: expected {CHOICES}; found the text quarantaine; "
            "did you mean quarantine?"
        ],
    ),
    "a choice in capitals": (
        HEAD.replace("{uri: lake/out}", "{uri: lake/out, format: PARQUET}"),
        [
            "line 4, column 33: output.format: expected one of delta, parquet; found the text "
            "PARQUET; did you mean parquet?"
        ],
    ),
    "a choice that YAML takes for true": (
        HEAD + "gates: {finite_predictions: on}",
        [
            "line 5, column 29: gates.finite_predictions: expected one of fail, hold, warn, off; "
            "found on, which YAML reads as true"
        ],
    ),
    # Places
    "a model without its scheme": (
        HEAD.replace("models:/late/3", "late/3"),
        [f"line 2, column 8: model: expected {MODELS}; found late/3; did you mean models:/late/3?"],
    ),
    "a logged model's id alone": (
        HEAD.replace("models:/late/3", f"m-{'0a' * 16}"),
        [f"line 2, column 8: model: expected {MODELS}; did you mean models:/m-{'0a' * 16}?"],
    ),
    "a model's newest version": (
        HEAD.replace("models:/late/3", "models:/late/latest"),
        [f"line 2, column 8: model: expected {MODELS}; found models:/late/latest"],
    ),
    "a user in a URL": (
        HEAD.replace("lake/in", "s3://me:n3v3r@lake/in"),
        [
            "line 3, column 14: input.uri: carries credentials; put them into storage_options as "
            "${ENV_NAME} instead"
        ],
    ),
    "a bucket alone": (
        HEAD.replace("lake/out", "s3://lake"),
        [
            "line 4, column 15: output.uri: needs a path below the bucket, since run records are "
            "kept beside it"
        ],
    ),
    "an unset variable": (
        HEAD.replace("lake/in", '"${NIGHTSCORE_UNSET}/in"'),
        [
            "line 3, column 14: input.uri: the environment variable NIGHTSCORE_UNSET is not set; "
            "export it, or correct its name"
        ],
    ),
    "unset variables in short forms": (
        "name: late\nmodel: models:/late/3\ninput: ${NIGHTSCORE_UNSET}/in\n"
        "output: ${NIGHTSCORE_UNSET2}/out\nregistry: ${NIGHTSCORE_UNSET3}\n",
        [
            f"line {line}, column {column}: {key}: the environment variable {name} is not set; "
            "export it, or correct its name"
            for line, column, key, name in (
                (3, 8, "input.uri", "NIGHTSCORE_UNSET"),
                (4, 9, "output.uri", "NIGHTSCORE_UNSET2"),
                (5, 11, "registry", "NIGHTSCORE_UNSET3"),
            )
        ],
    ),
    "a variable with a default": (
        HEAD.replace("lake/in", '"${LAKE:-lake}/in"'),
        [
            "line 3, column 14: input.uri: expected ${NAME}, the name of an environment variable, "
            "without a default"
        ],
    ),
    "nobody's home": (
        HEAD.replace("lake/in", "~no-such-user/in"),
        [
            "line 3, column 14: input.uri: ~no-such-user names no folder, since there is no such "
            "user, or the user has no home; write the whole path, or ./~no-such-user for a folder "
            "of that name"
        ],
    ),
    "predictions inside of the input": (
        HEAD.replace("lake/in", "/lake").replace("lake/out", "/lake/out"),
        [
            "line 4, column 15: output.uri: input.uri and output.uri must not contain each other: "
            "/lake and /lake/out"
        ],
    ),
    "a folder in a pattern": (
        HEAD.replace("lake/in", "lake/in, files: a/*.parquet"),
        [
            "line 3, column 30: input.files: expected a pattern of file names, without folders, "
            "found 'a/*.parquet'"
        ],
    ),
    "a format without a date": (
        HEAD.replace("lake/in", "lake/in, partition_format: YYYY-MM-DD"),
        [
            "line 3, column 41: input.partition_format: expected a strftime pattern such as "
            "'%Y-%m-%d'; found no %"
        ],
    ),
    # Several keys together
    "a cluster without an address": (
        HEAD + "workers:\n  backend: dask",
        [
            "line 6, column 3: workers.address: dask needs the address of a cluster, such as "
            "tcp://host:8786"
        ],
    ),
    "a column twice": (
        HEAD + "keys: [id, day]\npass_through: [day]",
        ["line 6, column 15: pass_through: keys and pass_through name a column twice: day"],
    ),
    "a drift column that is not carried": (
        HEAD + "drift:\n  columns: [dest]",
        [
            "line 6, column 12: drift.columns: expected columns of pass_through, found dest: name "
            "them in pass_through too"
        ],
    ),
    "a gate without bounds": (
        HEAD + "gates:\n  rows:\n    runs: 7",
        ["line 7, column 5: gates.rows: needs `min_ratio` or `max_ratio`"],
    ),
    "bounds the wrong way round": (
        HEAD + "gates:\n  prediction_range: {min: 2, max: 1}",
        [
            "line 6, column 21: gates.prediction_range: min 2.0 is greater than max 1.0: no run can pass"
        ],
    ),
    "all at once, and what two keys do together": (
        HEAD + "keys: {unique: true}\ngates: {unique_key: hold}\nlimits: {shard_minutes: soon}\n",
        [
            "line 5, column 16: keys.unique: needs keys.columns; write keys: {columns: [...], "
            "unique: true}",
            "line 6, column 9: gates.unique_key: unknown key; did you mean unique_keys?",
            "line 7, column 25: limits.shard_minutes: expected a number above 0; found the text "
            "soon",
        ],
    ),
    # YAML
    "a key of a merged mapping": (
        "defaults: &d\n  polcy: {}\n" + HEAD + "limits:\n  <<: *d\n",
        [
            "line 1, column 1: defaults: unknown key; did you mean features?",
            "line 2, column 3: limits.polcy: unknown key; known keys: max_quarantined_rows, "
            "max_quarantined_share, memory_bytes, shard_minutes",
        ],
    ),
    "JSON": (
        '{"name": "late", "model": "models:/late/3",\n "input": "in", "output": "out",\n'
        ' "predict": "proba"}',
        [
            "line 3, column 13: predict: expected one of auto, predict, predict_proba, "
            "decision_function, raw; found the text proba; did you mean predict_proba?"
        ],
    ),
}


def refused(tmp_path: Path, text: str) -> InvalidJobError:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(InvalidJobError) as caught:
        load_job(str(path))
    assert caught.value.where == str(path)
    return caught.value


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_job_file_is_answered_with_places_forms_and_fixes(
    name: str, tmp_path: Path
) -> None:
    text, expected = WRONG[name]
    error = refused(tmp_path, text)
    assert list(error.problems) == expected
    assert error.what == f"The job file has {len(expected)} problem{'s'[: len(expected) != 1]}."


def test_a_stack_trace_shows_no_words_of_pydantics_either(tmp_path: Path) -> None:
    error = refused(tmp_path, HEAD + "workers: {count: none}")
    shown = "".join(traceback.format_exception(error))
    assert "expected a whole number" in shown
    assert "Input should be" not in shown


def test_the_table_is_long_enough() -> None:
    assert len(WRONG) >= 40


NOT_YAML = {
    "a tab": ("name: a\n\tmodel: b", "line 2, column 1: "),
    "a percent sign": ("name: a\ninput: {partition_format: %Y}", "line 2, column 27: "),
    "braces in braces": ("name: a\ninput: {uri: ${LAKE}/in}", "line 2, column 8: "),
    "a colon": ("name: a: b", "line 1, column 8: "),
    "no end of a list": ("keys: [a, b\nname: c", "line 1, column 7: "),
    "a list as a key": (
        "name: a\n? [a, b]\n: 1",
        "line 2, column 3: a list or a mapping stands where a key is expected; write a name",
    ),
    "two sections that are not indented": (
        "input:\nuri: a\noutput:\nuri: b",
        "line 4, column 1: the key uri is given twice; if it belongs below output, indent it",
    ),
    "millions with commas": (
        "limits: {max_quarantined_rows: 1,000,000}",
        "line 1, column 38: the key 000 is given twice; a comma begins a new key, so write "
        "numbers without commas",
    ),
    "a key twice": ("name: a\nmodel: b\nname: c", "line 3, column 1: the key name is given twice"),
    "a date that does not exist": (
        "name: 2024-02-30",
        "line 1, column 7: the value is no timestamp",
    ),
}


@pytest.mark.parametrize("name", NOT_YAML)
def test_what_is_no_yaml_is_answered_with_its_place(name: str, tmp_path: Path) -> None:
    text, expected = NOT_YAML[name]
    error = refused(tmp_path, text)
    assert error.what == "The job file is no valid YAML."
    assert error.found.startswith(expected)


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "an empty file"), ("- a", "a list"), ("late", "a text"), ("3", "a number")],
)
def test_what_is_no_mapping_describes_no_job(text: str, found: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert error.what == "The job file does not describe a job."
    assert error.found == found


# What pydantic says must never be shown.

PYDANTIC_SAYS = sorted(
    {
        part.strip()
        for error in list_all_errors()
        for part in re.split(r"\{\w+\}", error["message_template_python"])
        if len(part.strip()) > 8
    }
)
WRONG_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    7,
    10**30,
    -0.5,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "a, b",
    "3 apples",
    "x" * 300,
    b"bytes",
    [],
    ["", 5, None],
    [["x"]],
    {},
    {"a": "b"},
    {"": 0.5, 3: "x", "b": {"c": []}},
    {1, 2},
    yaml.safe_load("2024-02-29"),
    yaml.safe_load("2024-02-29T12:00:00Z"),
)


def paths(path: KeyPath = ()) -> Iterator[KeyPath]:
    """Each key of the model, and the items of its lists and mappings."""
    field, _ = field_at(path)
    yield path
    parts: list[str | int] = list(field.section.model_fields) if field.section else ["a name", 0]
    for part in parts:
        if field_below(field, part) is not None:
            yield from paths((*path, part))


def put(path: KeyPath, value: Any) -> Any:
    """A job with a value at a path."""
    raw: Any = {
        "name": "late",
        "model": "models:/late/3",
        "input": {"uri": "in"},
        "output": {"uri": "out"},
        "gates": {"null_rate": {"max": 0.5}, "score_shift": {"max": 1}},
    }
    *around, last = path
    section = raw
    for part in around:
        section = section.setdefault(part, {})
    if isinstance(last, int):
        parent = raw
        for part in around[:-1]:
            parent = parent[part]
        parent[around[-1]] = [value]
    else:
        section[last] = value
    return raw


@pytest.mark.parametrize("path", list(paths())[1:], ids=lambda path: ".".join(map(str, path)))
def test_no_wrong_value_is_answered_in_pydantics_words(path: KeyPath, tmp_path: Path) -> None:
    n_refused = 0
    for value in WRONG_VALUES:
        raw = put(path, value)
        text = yaml.safe_dump(raw)
        (tmp_path / "job.yaml").write_text(text)

        messages = []
        for load in (lambda raw=raw: parse_job(raw), lambda: load_job(str(tmp_path / "job.yaml"))):
            try:
                load()
            except InvalidJobError as error:
                messages.append(error)

        for error in messages:
            n_refused += 1
            for sentence in PYDANTIC_SAYS:
                assert sentence not in str(error), error
            for problem in error.problems:
                words = (
                    "expected",
                    "unknown key",
                    "needs",
                    "never",
                    "must",
                    "carries",
                    "no run can",
                    "takes no",
                )
                assert any(word in problem for word in words), problem
        if len(messages) == 2:
            places = [re.match(r"line \d+, column \d+: ", line) for line in messages[1].problems]
            assert all(places), messages[1]
    assert n_refused or not has_bounds(field_at(path)[0])


def has_bounds(field: Field) -> bool:
    """Whether some value is wrong: the values of storage options may be anything."""
    return "a list or a mapping" not in field.words


def test_the_walk_reaches_every_key_of_the_json_schema() -> None:
    """The walk follows the model; the JSON schema is made by pydantic."""
    schema = json_schema()
    sections = {"": schema} | schema["$defs"]
    keys = {key for section in sections.values() for key in section.get("properties", ())}
    assert keys == {part for path in paths() for part in path if isinstance(part, str)} - {"a name"}


def test_no_secret_is_repeated(tmp_path: Path) -> None:
    secret = "n3v3r-t0-b3-s33n"
    for path in paths():
        if not path or path[0] in ("name", "model") or path[:2] == ("drift", "columns"):
            continue  # names, which messages repeat
        field, _ = field_at(path)
        is_closed = field.is_number or field.choices or field.type is bool
        text = 7 if is_closed else f"{secret}, {secret}"
        for value in ({secret: [secret]}, [secret, {"x": secret}], text):
            (tmp_path / "job.yaml").write_text(yaml.safe_dump(put(path, value)))
            try:
                load_job(str(tmp_path / "job.yaml"))
            except InvalidJobError as error:
                shown = [line.partition("unknown key")[0] for line in error.problems]
                assert not any(secret in line.replace(f".{secret}: ", "") for line in shown), error


@pytest.mark.slow
def test_a_flood_of_problems_is_counted(tmp_path: Path) -> None:
    error = refused(tmp_path, HEAD + "\n".join(f"key{i}: 1" for i in range(20_000)))
    assert len(error.problems) == 101
    assert error.problems[-1] == "and 19,900 more"


def test_long_keys_and_many_references_are_cut_short(tmp_path: Path) -> None:
    error = refused(tmp_path, HEAD + f"limits: {{? {'k' * 10_000} : 1}}")
    assert len(error.problems[0]) < 500
    references = "".join(f"${{N{i}}}" for i in range(5_000))
    error = refused(tmp_path, HEAD.replace("lake/in", f'"{references}"'))
    assert len(error.problems) == 10


def test_merged_mappings_cost_no_more_than_they_hold(tmp_path: Path) -> None:
    chain = "\n".join(f"m{i}: &m{i}\n  <<: *m{i - 1}\n  k{i}: 1" for i in range(1, 300))
    error = refused(tmp_path, f"m0: &m0 {{k0: 1}}\n{chain}\nlimits:\n  <<: *m299")
    assert "and " in error.problems[-1]


def test_places_follow_aliases_merges_and_short_forms() -> None:
    text = b"a: &a\n  b: [1, {c: 2}]\nd:\n  <<: [*a, {e: 3}]\n  f: 4\n"
    assert read_yaml(text)["d"] == {"b": [1, {"c": 2}], "e": 3, "f": 4}
    positions = DocumentPositions(text)
    assert positions.of_value(("a", "b", 1, "c")) == (2, 14)
    assert positions.of_key(("a", "b", 1, "c")) == (2, 11)
    assert positions.of_value(("d", "b", 0)) == (2, 7)
    assert positions.of_key(("d", "e")) == (4, 13)
    assert positions.of_key(("d", "f", "uri")) == (5, 3)
    assert positions.of_value(("d", "missing")) == (4, 3)
    assert positions.written(("d", "missing")) is None
    assert DocumentPositions(b"").of_value(()) is None
    assert MAX_VALUES == 200_000


# Short forms.

SHORT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "keys": ({"keys": "id"}, {"keys": {"columns": ["id"], "unique": False}}),
    "a list of keys": ({"keys": ["id", "day"]}, {"keys": {"columns": ["id", "day"]}}),
    "one key column": ({"keys": {"columns": "id"}}, {"keys": {"columns": ["id"]}}),
    "input and output": (
        {"input": "s3://lake/in", "output": "lake/out"},
        {"input": {"uri": "s3://lake/in"}, "output": {"uri": "lake/out"}},
    ),
    "pass_through": ({"pass_through": "day"}, {"pass_through": ["day"]}),
    "features": ({"features": "a"}, {"features": ["a"]}),
    "allow_code": ({"allow_code": "own"}, {"allow_code": ["own"]}),
    "renamed_from": ({"renamed_from": "old"}, {"renamed_from": ["old"]}),
    "segments": ({"drift": {"segments": "a"}}, {"drift": {"segments": ["a"]}}),
    "workers": ({"workers": 4}, {"workers": {"count": 4}}),
    "binary sizes": ({"limits": {"memory_bytes": "2GiB"}}, {"limits": {"memory_bytes": 2 << 30}}),
    "kubernetes' sizes": (
        {"limits": {"memory_bytes": "512Mi"}},
        {"limits": {"memory_bytes": 512 << 20}},
    ),
    "decimal sizes": (
        {"limits": {"memory_bytes": "512 MB"}},
        {"limits": {"memory_bytes": 512_000_000}},
    ),
    "parts of sizes": (
        {"limits": {"memory_bytes": "1.5 gib"}},
        {"limits": {"memory_bytes": 3 << 29}},
    ),
    "quarantined": (
        {"limits": {"max_quarantined_share": "5%"}},
        {"limits": {"max_quarantined_share": 0.05}},
    ),
    "null rates": (
        {"gates": {"null_rate": {"max": "0.7 %", "columns": {"a": "99.9%"}}}},
        {"gates": {"null_rate": {"max": 0.007, "columns": {"a": 0.999}}}},
    ),
    "ratios": (
        {"gates": {"rows": {"min_ratio": "50%", "max_ratio": "150%"}}},
        {"gates": {"rows": {"min_ratio": 0.5, "max_ratio": 1.5}}},
    ),
    "decision": ({"decision": {"threshold": "40%"}}, {"decision": {"threshold": 0.4}}),
    "profiling": ({"drift": {"max_share": "10%"}}, {"drift": {"max_share": 0.1}}),
}
REQUIRED = {
    "name": "late",
    "model": "models:/late/3",
    "input": {"uri": "in"},
    "output": {"uri": "out"},
}


@pytest.mark.parametrize("name", SHORT)
def test_a_short_form_is_the_same_job_and_valid_in_editors(name: str, tmp_path: Path) -> None:
    short, long = (REQUIRED | changes for changes in SHORT[name])
    jobs = []
    for raw in (short, long):
        jsonschema.validate(raw, json_schema())
        path = tmp_path / f"{len(jobs)}.yaml"
        path.write_text(yaml.safe_dump(raw))
        jobs.append(load_job(str(path)))
    assert jobs[0] == jobs[1] == parse_job(long)
    assert jobs[0].model_dump_json() == jobs[1].model_dump_json()


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": {"memory_bytes": "2G"}},
        {"limits": {"memory_bytes": "2 apples"}},
        {"limits": {"max_quarantined_share": "5"}},
        {"workers": 0},
        {"keys": 3},
        {"input": 3},
    ],
)
def test_what_is_no_short_form_is_none_in_editors_either(changes: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(REQUIRED | changes, json_schema())


def test_a_plain_off_is_off() -> None:
    raw = "drift: {gate: off}\ngates: {finite_predictions: off}"
    job = parse_job(REQUIRED | yaml.safe_load(raw))
    assert (job.drift.gate, job.gates.finite_predictions) == ("off", "off")


def test_numbers_with_an_exponent_and_whole_floats_stay_numbers(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        HEAD + "limits: {max_quarantined_rows: 100.0, max_quarantined_share: 1e-3}\n"
        "gates: {score_shift: {max: 5e-1, runs: 7.0}}\n"
    )
    job = load_job(str(path))
    assert (job.limits.max_quarantined_rows, job.limits.max_quarantined_share) == (100, 0.001)
    assert job.gates.score_shift is not None
    assert (job.gates.score_shift.max, job.gates.score_shift.runs) == (0.5, 7)


@pytest.mark.parametrize("value", [True, "100", 1.5])
def test_a_number_is_never_cast_from_another_type(value: Any) -> None:
    changes = {"limits": {"max_quarantined_rows": value}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(REQUIRED | changes, json_schema())
    with pytest.raises(InvalidJobError, match="expected a whole number"):
        parse_job(REQUIRED | changes)


def test_columns_keep_their_names_whatever_yaml_reads(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(HEAD + "gates: {null_rate: {max: 0.5, columns: {no: 0.1, 2024: 0.2}}}")
    gate = load_job(str(path)).gates.null_rate
    assert gate is not None
    assert gate.columns == {"no": 0.1, "2024": 0.2}


# JSON.


def refused_json(tmp_path: Path, text: str) -> InvalidJobError:
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(InvalidJobError) as caught:
        load_job(str(path))
    return caught.value


def test_json_is_read_as_json_dump_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    raw = REQUIRED | {"pass_through": ["\U0001f600", "a\\ud83d"], "features": ["\\"]}
    for content in (json.dumps(raw), json.dumps(raw, indent="\t", ensure_ascii=False)):
        path.write_text(f"\ufeff{content}")
        assert load_job(str(path)) == parse_job(raw)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{\n  // a job\n  "name": "a"}', "line 2, column 3: JSON has no comments; remove it"),
        ('{"name": "a", /* b */ "model": 1}', "line 1, column 15: JSON has no comments"),
        ('{"name": "a",}', "line 1, column 14: a comma stands before the closing }; remove it"),
        ("{'name': 'a'}", "line 1, column 2: JSON takes double quotes only"),
        ('{"name": "a", "name": "b"}', "the key name is given twice"),
        ('{"name": "\\ud83d"}', "a text has half a surrogate pair"),
    ],
)
def test_what_is_no_json_is_answered_in_words(text: str, found: str, tmp_path: Path) -> None:
    error = refused_json(tmp_path, text)
    assert error.what == "The job file is no valid JSON."
    assert error.found.startswith(found)


def test_problems_of_json_have_their_places(tmp_path: Path) -> None:
    raw = REQUIRED | {"features": ["\U0001f600"], "allow_pickle": 1}
    error = refused_json(tmp_path, json.dumps(raw, indent="\t"))
    assert list(error.problems) == [
        "line 13, column 18: allow_pickle: expected true or false; found 1; write true, without "
        "quotes"
    ]
    line = json.dumps(raw)
    assert (
        refused_json(tmp_path, line)
        .problems[0]
        .startswith(f"line 1, column {line.rindex('1') + 1}: ")
    )
    deep = json.dumps(raw | {"x": json.loads("[" * 90 + "]" * 90)})
    assert "allow_pickle: expected true or false" in refused_json(tmp_path, deep).problems[0]
