"""`nightscore demo --release`: a second model version, from its training to `demote`."""

import json
import os
import shlex
import subprocess
import sys
import time
from datetime import timedelta
from typing import Any

import typer

from nightscore.cli.commands.demo import SAMPLE, TODAY
from nightscore.cli.commands.up import program
from nightscore.cli.show import err, out, print_json
from nightscore.flows.demo.requirements import check_installed
from nightscore.flows.demo.sample import DEFAULT_ROOT, JOB_NAME
from nightscore.inputs.jobfile import load_job
from nightscore.ledger.release_history import last_demotion
from nightscore.models.model_versions import resolve
from nightscore.operations.releases.queries import read_releases
from nightscore.operations.standing import decide
from nightscore.schemas.job import ScoringJob

JOB_FILE = DEFAULT_ROOT / "flight_delay_release.yaml"
CHALLENGER = f"models:/{JOB_NAME}@challenger"
FIRST_DAY, LAST_DAY = TODAY - timedelta(days=22), TODAY - timedelta(days=16)
"""The week before the days that `nightscore demo` scores."""
RANGE = ("--from", str(FIRST_DAY), "--to", str(LAST_DAY))


def demo_release(as_json: bool) -> None:
    """Train a challenger, let it score a week beside the champion, and make it live a while."""
    check_installed()
    os.environ["NIGHTSCORE_CACHE"] = str(SAMPLE.cache)

    act = _Act(as_json)
    SAMPLE.prepare(TODAY, act.say, act.result)
    SAMPLE.prepare_challenger(act.say, act.result)

    release = {"challenger": CHALLENGER, "mode": "shadow"}
    SAMPLE.write_job(JOB_FILE, SAMPLE.registry, SAMPLE.lake, release=release)

    act.say("A shadow: both versions score a week in one pass. Readers see the champion's scores")
    act.call("backfill", *RANGE)

    act.say("The labels of that week have come: both versions are compared with them")
    act.call("evaluate", *RANGE)

    act.say("What differs between the two, row by row")
    act.call("compare", *RANGE)

    _promote(act, load_job(str(JOB_FILE)))

    act.say("The release log")
    act.call("releases")

    act.say("One command back")
    act.call("demote", "--note", "the end of the demo")
    act.call("releases")

    act.end()


def _promote(act: "_Act", job: ScoringJob) -> None:
    """Make the challenger live, as its evidence allows."""
    version = resolve(CHALLENGER, job.registry).version
    verdict = decide(job, CHALLENGER).verdict
    was_demoted = last_demotion(read_releases(job).releases, version) is not None
    options = ["--to", version, "--note", "trained on April to June"]

    if was_demoted:
        act.say("The demo has demoted it before. Somebody decides to try it again")
        options.append("--without-labels")
    elif verdict == "better":
        act.say("The labels say that the challenger is better, so it goes live")
    else:
        act.say("A week of labels does not show that it is better. Somebody decides all the same:")
        options.append("--without-labels")

    act.call("promote", *options)


class _Act:
    """Gives the commands one after another, as their reader would, and shows what they print."""

    def __init__(self, as_json: bool) -> None:
        """Begin.

        Args:
            as_json: Print one document with all commands and theirs, instead of what they print.
        """
        self._console = err if as_json else out
        self._documents: list[dict[str, Any]] | None = [] if as_json else None
        self._started = time.perf_counter()

    def say(self, text: str) -> None:
        self._console.print_lines(f"\n{text}")

    def result(self, text: str) -> None:
        self._console.print(f"  {text}")

    def call(self, command: str, *options: str) -> None:
        """Give a command on the demo's job; exit if it fails."""
        arguments = [command, str(JOB_FILE), *options]
        self._console.print(f"$ {program()} {shlex.join(arguments)}")
        self._console.file.flush()

        is_shown = self._documents is None
        finished = subprocess.run(
            [sys.executable, "-m", "nightscore.cli", *arguments, *([] if is_shown else ["--json"])],
            stdout=None if is_shown else subprocess.PIPE,
            check=False,
        )
        if finished.returncode:
            raise typer.Exit(finished.returncode)

        if self._documents is not None:
            document = json.loads(finished.stdout)
            self._documents.append({"command": command, "document": document})

    def end(self) -> None:
        if self._documents is not None:
            print_json(self._documents)

        seconds = time.perf_counter() - self._started
        self.say(f"Done in {seconds:.0f} s. Nothing is left running.")
