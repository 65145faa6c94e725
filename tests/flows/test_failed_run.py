"""What is told of a failed run: in its event, in messages and on the page of a nightly run."""

import warnings
from dataclasses import replace

from nightscore.schemas.manifest import ErrorRecord

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from nightscore.flows.outcome import WHOLE_RUN, Outcome
    from nightscore.flows.ui.failed_run import FailedRun, failed_event
    from nightscore.flows.ui.failure_text import MAX_LINES, error_text
    from nightscore.flows.ui.nightly_page import (
        nightly_markdown,
        nightly_message,
        nightly_verdict,
    )

URL = "http://prefect/runs/flow-run/1"
ERROR = """2024-03-02: The files do not fit the model; nothing was read.
  where:    s3://lake/features/ds=2024-03-02
  expected: 3 columns
  found:    2 columns
  - a: is missing (double)
  next:     nightscore check delay"""


def a_failure(day: str = "2024-03-02", message: str = ERROR) -> Outcome:
    return Outcome(day, False, message, command=f"nightscore run delay {day}")


def test_a_failure_is_told_with_its_reason_and_what_to_run() -> None:
    event = failed_event(FailedRun(job="delay", failures=[a_failure()], url=URL))
    assert event.name == "nightscore.run.failed"
    assert event.resource == {
        "prefect.resource.id": "nightscore.job.delay",
        "prefect.resource.name": "delay",
        "nightscore.partition": "2024-03-02",
        "nightscore.severity": "critical",
        "nightscore.notify": "true",
    }
    assert event.payload["failures"] == [
        {
            "partition": "2024-03-02",
            "what": "The files do not fit the model; nothing was read.",
            "where": "s3://lake/features/ds=2024-03-02",
            "expected": "3 columns",
            "found": "2 columns",
            "next": "nightscore check delay",
        }
    ]
    told = "delay 2024-03-02: failed: The files do not fit the model; nothing was read"
    assert event.payload["subject"] == told
    assert event.payload["message"] == (
        f"{told}. Once the cause is mended, run again: nightscore run delay 2024-03-02"
    )
    assert event.payload["text"].splitlines() == [
        "• 2024-03-02: The files do not fit the model; nothing was read.",
        "  where:    s3://lake/features/ds=2024-03-02",
        "  expected: 3 columns",
        "  found:    2 columns",
        "  - a: is missing (double)",
        "  next:     nightscore check delay",
        "",
        "Once the cause is mended, run again:",
        "    nightscore run delay 2024-03-02",
        "",
        f"Run: {URL}",
    ]


def test_the_fields_of_an_error_are_those_of_its_record() -> None:
    error = ErrorRecord(
        type="InputError",
        message="x",
        what="The file is no Parquet.",
        where="a:b",
        found="next: to nothing",
        next_step="write it again",
    )
    failure = replace(a_failure(), error=error)
    payload = failed_event(FailedRun(job="delay", failures=[failure])).payload
    assert payload["failures"] == [
        {
            "partition": "2024-03-02",
            "what": "The file is no Parquet.",
            "where": "a:b",
            "expected": "",
            "found": "next: to nothing",
            "next": "write it again",
        }
    ]


def test_a_long_error_keeps_what_to_do_next() -> None:
    lines = error_text(a_failure(), 60).splitlines()
    assert lines == ["The files do not fit the m…", "  next:     nightscore check delay"]
    assert error_text(a_failure(), 5_000) == ERROR.removeprefix("2024-03-02: ")


def test_a_run_that_never_reached_a_partition_is_told_too() -> None:
    run = FailedRun(job="delay", failures=[Outcome(WHOLE_RUN, False, "No such job.\n  next: x")])
    event = failed_event(run)
    assert event.payload["subject"] == "delay: failed: No such job"
    assert event.payload["message"] == "delay: failed: No such job."
    assert event.payload["text"] == "• The run: No such job.\n  next: x"
    assert (event.payload["partition"], event.payload["commands"]) == ("", [])


def test_many_failures_make_one_short_message() -> None:
    problems = "".join(f"\n  - column_{i}: is missing" for i in range(500))
    failures = [a_failure(f"2024-{i:03}", f"x{problems}\n  next: y") for i in range(60)]
    payload = failed_event(FailedRun(job="delay", failures=failures)).payload
    assert payload["subject"].startswith("delay: 60 partitions failed: 2024-000, 2024-001")
    assert payload["subject"].endswith(" and 57 more")
    assert (len(payload["failures"]), payload["n_failed"]) == (50, 60)
    lines = payload["text"].splitlines()
    assert "• and 52 more" in lines
    assert lines[MAX_LINES - 2 : MAX_LINES] == ["  - and 491 more", "  next: y"]


def test_the_dates_of_a_backfill_share_its_command() -> None:
    failures = [Outcome(day, False, "x", command="nightscore backfill delay") for day in "ab"]
    assert FailedRun(job="delay", failures=failures).commands == ["nightscore backfill delay"]


def test_the_page_of_a_night_says_what_failed_what_is_held_and_what_is_done() -> None:
    done = Outcome("2024-03-04", True, "2024-03-04: 5 rows scored", 5)
    held = Outcome("2024-03-03", False, "2024-03-03: held, waits", is_held=True, command="no")
    outcomes = [done, a_failure(), held]
    assert nightly_verdict(outcomes) == "1 done, 1 failed, 1 held"
    assert nightly_message(outcomes, "delay-nightly") == (
        "2024-03-04: 5 rows scored; late data: 2 more partitions, 1 failed, 1 held "
        "(2024-03-02, 2024-03-03); causes and what to run again: artifact delay-nightly"
    )
    page = nightly_markdown("delay", outcomes)
    assert page.startswith("## 1 done, 1 failed, 1 held · nightly run of delay\n\n### Failures\n")
    assert "**2024-03-02**\n\n```\nThe files do not fit the model" in page
    assert "```\nnightscore run delay 2024-03-02\n```" in page
    assert page.endswith("\n- 2024-03-04: 5 rows scored\n- 2024-03-03: held, waits\n")
    assert nightly_message([done], "delay-nightly") == "2024-03-04: 5 rows scored"
