"""Understands command lines that are nearly right: swapped arguments, other formats of dates.

It only rewrites what is typed. It reads a job where the words leave open which date was meant.
`usage` decides what to do with the result.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nightscore.cli.job_dates import only_date, possible_partition
from nightscore.cli.job_names import is_job, is_like_a_job, near_jobs, other_suffix
from nightscore.cli.tokens import (
    OPTION,
    VALUE,
    Token,
    argument_names,
    option_names,
    tokens_of,
)
from nightscore.schemas.dates import is_like_a_date, nearest_date, readings

COMMAND_SYNONYMS = {
    "new": "init",
    "create": "init",
    "doctor": "check",
    "validate": "check",
    "preflight": "check",
    "score": "run",
    "predict": "run",
    "exec": "run",
    "list": "partitions",
    "ls": "partitions",
    "why": "explain",
    "log": "runs",
    "logs": "runs",
    "show": "report",
    "serve": "pages",
    "diff": "drift",
    "compare": "drift",
    "undo": "rollback",
    "revert": "rollback",
    "restore": "rollback",
    "rescore": "backfill",
    "cleanup": "clean",
    "gc": "clean",
    "vacuum": "clean",
    "accept": "approve",
    "release": "promote",
    "inspect": "model inspect",
    "start": "up",
    "stop": "down",
    "schedule": "deploy",
    "ps": "status",
}
"""What people type for a command who know other tools."""

WITH_A_JOB = {"status": "partitions"}
"""What people type with a job, for a command that takes one."""

OPTION_SYNONYMS = {
    "--start": "--from",
    "--start-date": "--from",
    "--since": "--from",
    "--end": "--to",
    "--end-date": "--to",
    "--until": "--to",
    "--dryrun": "--dry-run",
    "-n": "--dry-run",
    "-f": "--force",
    "--cache": "--cache-dir",
    "--input": "--data",
    "--run": "--run-id",
    "--message": "--note",
    "-m": "--note",
}
POSITION_SYNONYMS = {
    "--job": "JOB",
    "--partition": "PARTITION",
    "--date": "PARTITION",
    "--ds": "PARTITION",
    "--day": "PARTITION",
    "--model": "MODEL_URI",
}
"""Options that do not exist: what follows them is an argument."""

_MODEL = re.compile(
    r"(models:)?/{0,2}(?P<logged>m-[0-9a-f]{32})"
    r"|(models:/{0,2})?(?P<name>[^/:@\s]+)([/:]v?(?P<version>\d+)|@(?P<alias>[\w.-]+))"
)
"""A version of a model, as people write it."""
_ISO_DATE = re.compile(r"(?<![^=])\d{4}-\d\d-\d\d$")


@dataclass(slots=True)
class Corrected:
    """A command line, what was corrected in it, and what cannot be right."""

    arguments: list[str]
    notes: list[str] = field(default_factory=list)
    """What was understood, a clause each."""
    problems: list[str] = field(default_factory=list)
    """What is wrong. `arguments` then hold the nearest thing that would be right."""


def correct(command: Any, arguments: Sequence[str], *, is_wrong: bool = False) -> Corrected:
    """The command line that was meant.

    Args:
        command: Of typer; it says which options and arguments there are.
        arguments: What was typed after the command's name.
        is_wrong: The command's name was not right. Otherwise partitions are left to the command, as
            long as all else is right.
    """
    result = Corrected([])
    words = _respell_options(command, arguments, result)
    tokens = tokens_of(command, words)

    steps = (_order, _name_job, _model_uris, _date_options, _dates_for_range, _order_range)
    for step in steps:
        tokens = step(command, tokens, result)

    if is_wrong or result.notes or result.problems:
        correct_partitions(tokens, result)

    result.arguments = [token.text for token in tokens]
    return result


def correct_partitions(tokens: Sequence[Token], result: Corrected) -> None:
    """Put partitions that can be in the place of those that cannot: one answer names all slips."""
    job = _job_of(tokens)
    for token in tokens:
        if not job or not token.kind.startswith("PARTITION"):
            continue

        meant = possible_partition(job, token.text)
        if meant != token.text:
            is_date = is_like_a_date(token.text) and not readings(token.text)
            what = "a date that does not exist" if is_date else "no partition of this job"
            result.problems.append(f"{token.text} is {what}; the nearest is {meant}")
            token.text = meant


def meant_with_job(words: Sequence[str]) -> str:
    """The command that was meant because a job follows: `partitions` for `status job.yaml`.

    Empty if the command is right as it is.
    """
    other = WITH_A_JOB.get(words[0], "") if words else ""
    return other if any(map(is_like_a_job, words[1:])) else ""


def near_name(text: str, known: Sequence[str]) -> str:
    """The known name that is nearest to a text; empty if none is near."""
    import difflib  # only where a word is wrong

    near = difflib.get_close_matches(text, known, n=1, cutoff=0.6)
    return near[0] if near else ""


def near_commands(text: str, known: Sequence[str]) -> list[str]:
    """The commands that a short or misspelt word may stand for, the likeliest first.

    They begin with it (`rol`), or one is spelled nearly so, or they have its letters in this order
    (`bf`).
    """
    if len(text) < 2:
        return []

    begun = sorted((name for name in known if name.startswith(text)), key=len)
    if begun:
        return begun
    if near := near_name(text, known):
        return [near]

    pattern = re.compile(".*".join(map(re.escape, text)))
    return sorted((name for name in known if pattern.match(name)), key=len)


def _respell_options(command: Any, arguments: Sequence[str], result: Corrected) -> list[str]:
    """The words, with the options that were meant in place of those of other tools."""
    known = option_names(command)
    positions = [name.removesuffix("...") for name in argument_names(command)]
    words: list[str] = []
    is_option_possible = True

    for word in arguments:
        is_option_possible = is_option_possible and word != "--"
        name, equals, value = word.partition("=")

        if not is_option_possible or name in known or not word.startswith("-"):
            words.append(word)
            continue

        meant = OPTION_SYNONYMS.get(name.replace("_", "-"), name.replace("_", "-"))
        if meant in known:
            result.notes.append(f"{name} is called {meant}")
            words.append(meant + equals + value)
        elif POSITION_SYNONYMS.get(name) in positions:
            result.notes.append(f"{POSITION_SYNONYMS[name]} is given without {name}")
            words += [value] if equals else []
        else:
            words.append(word)

    return words


def _order(command: Any, tokens: list[Token], result: Corrected) -> list[Token]:
    """Put the job first, if a partition stands there and the job comes later."""
    if argument_names(command)[:1] != ["JOB"]:
        return tokens

    places = [i for i, token in enumerate(tokens) if token.kind not in (OPTION, VALUE)]
    if len(places) < 2 or is_like_a_job(tokens[places[0]].text):
        return tokens

    jobs = [i for i in places[1:] if is_like_a_job(tokens[i].text)]
    if len(jobs) != 1:
        return tokens

    texts = [tokens[i].text for i in places]
    job = tokens[jobs[0]].text
    texts.remove(job)
    result.notes.append(f"the job, {job}, comes first")

    for i, text in zip(places, [job, *texts], strict=True):
        tokens[i].text = text

    return tokens


def _name_job(command: Any, tokens: list[Token], result: Corrected) -> list[Token]:
    """The job file that exists in place of one with another suffix, or of a misspelt one."""
    for token in tokens:
        if token.kind.removesuffix("...") != "JOB" or is_job(token.text):
            continue

        other = other_suffix(token.text)
        if other is not None:
            result.notes.append(f"the file is {other}")
            token.text = other
            continue

        near = near_jobs(token.text)
        if near:
            result.problems.append(
                f"there is no job {token.text}; did you mean {' or '.join(near)}?"
            )
            token.text = near[0]

    return tokens


def _model_uris(command: Any, tokens: list[Token], result: Corrected) -> list[Token]:
    """`models:/name/3` for `name/3`, `name:3` and `name/v3`; the same with an alias or an id."""
    params = [param for param in command.params if param.metavar == "MODEL_URI"]
    options = {name for param in params for name in param.opts}

    for token in tokens:
        is_model = token.kind == "MODEL_URI" or (token.kind == VALUE and token.option in options)
        match = _MODEL.fullmatch(token.text) if is_model else None
        if match is None:
            continue

        uri = _model_uri(match)
        if uri != token.text:
            result.notes.append(f"a model is written {uri}")
            token.text = uri

    return tokens


def _model_uri(match: re.Match[str]) -> str:
    if match["logged"]:
        return f"models:/{match['logged']}"
    if match["version"]:
        return f"models:/{match['name']}/{match['version']}"
    return f"models:/{match['name']}@{match['alias']}"


def _date_options(command: Any, tokens: list[Token], result: Corrected) -> list[Token]:
    """Dates of options as the command wants them."""
    names = _date_option_names(command)
    job = _job_of(tokens)

    for token in tokens:
        if token.kind == VALUE and token.option in names:
            token.text = _as_date(token.text, job, result)
        elif token.kind == OPTION and token.option in names and "=" in token.text:
            value = token.text.partition("=")[2]
            token.text = f"{token.option}={_as_date(value, job, result)}"

    return tokens


def _dates_for_range(command: Any, tokens: list[Token], result: Corrected) -> list[Token]:
    """`--from` and `--to` for two dates that follow the job."""
    extra = [token for token in tokens if token.kind == ""]
    given = {token.option for token in tokens}
    names = _date_option_names(command)

    is_range = len(extra) == 2 and all(is_like_a_date(token.text) for token in extra)
    if not is_range or not {"--from", "--to"} <= names or given & {"--from", "--to"}:
        return tokens

    result.notes.append("dates are given with --from and --to")
    corrected: list[Token] = []
    for token in tokens:
        if token.kind == "":
            option = "--from" if token is extra[0] else "--to"
            corrected.append(Token(option, OPTION, option))
            date = _as_date(token.text, _job_of(tokens), result)
            corrected.append(Token(date, VALUE, option))
        else:
            corrected.append(token)

    return corrected


def _order_range(command: Any, tokens: list[Token], result: Corrected) -> list[Token]:
    """The earlier of two dates first."""
    if not {"--from", "--to"} <= _date_option_names(command):
        return tokens

    # What holds a date is the word after the option, or `--from=2026-11-24` itself.
    holders = {token.option: token for token in tokens if token.kind == VALUE or "=" in token.text}
    dates = {option: _ISO_DATE.search(token.text) for option, token in holders.items()}
    start, end = dates.get("--from"), dates.get("--to")

    if start and end and start[0] > end[0]:
        result.notes.append(f"--from is the earlier date, {end[0]}, and --to the later one")
        for option, date in (("--from", end[0]), ("--to", start[0])):
            holders[option].text = _ISO_DATE.sub(date, holders[option].text)
    return tokens


def _date_option_names(command: Any) -> set[str]:
    params = [param for param in command.params if param.metavar == "DATE"]
    return {name for param in params for name in param.opts}


def _job_of(tokens: Sequence[Token]) -> str:
    """The job that a call names; empty if it names none."""
    jobs = [token.text for token in tokens if token.kind == "JOB"]
    return jobs[0] if jobs else ""


def _as_date(text: str, job: str, result: Corrected) -> str:
    """The date in the form that commands take."""
    plain = text.partition("=")[2] if "=" in text else text
    dates = [f"{time:%Y-%m-%d}" for time in readings(plain)]

    if len(dates) > 1 and job:
        only = only_date(job, plain)
        if only is not None:
            date = f"{only:%Y-%m-%d}"
            result.notes.append(f"{text} is {date} for this job, by its dates")
            return date

    if len(dates) > 1:
        result.problems.append(f"{text} is ambiguous: {' or '.join(dates)}?")
        return dates[0]
    if dates:
        if dates[0] != text:
            result.notes.append(f"{text} is {dates[0]}")
        return dates[0]

    nearest = nearest_date(plain)
    if nearest is None:
        return text  # typer says what is wrong with it

    real = f"{nearest:%Y-%m-%d}"
    result.problems.append(f"{text} is a date that does not exist; the nearest is {real}")
    return real
