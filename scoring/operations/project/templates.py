"""The text of a project's files."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

import nightscore.deploy
import nightscore.schemas
from nightscore.inputs.job_folder import from_job_folder
from nightscore.models.registries.uris import SQLITE
from nightscore.operations.project.records import Guess

WIDTH = 96
COMMENTS = {
    "model": {
        "model": "{guess.value}: {guess.reason}",
        "features": "its columns: {guess.value}",
        "predict": "{guess.reason}",
    },
    "input": {
        "input.partition_key": "partition_key: {guess.reason}",
        "input.partition_format": "partition_format: {guess.reason}",
    },
    "keys": {"keys": "{guess.reason}"},
    "features": {"features": "{guess.reason}"},
}
"""What is said above a key of the job file, by what was guessed."""
HERE = "{{ here.stdout }}"
"""The project's folder, which `prefect deploy` asks a step for."""
DEMO_JOB, DEMO_ZONE = "flight_delay", "America/New_York"
"""Named in `deploy/prefect.yaml`, which a project's own is made from."""
OF_LABELS = "  # For a job with `labels`."
"""The line there before the deployments that not every job has, which are the last ones."""

IGNORED = """\
# What runs write, and what is not source.
/data/
/predictions/
/predictions.nightscore/
/predictions/*.nightscore/
/.demo/
/mlruns/
/mlartifacts/
/mlflow.db
.venv/
__pycache__/
"""


MORE_KEYS = """
# More of what a job can say. schemas/job.schema.json describes every key:
# keys: {columns: [...], unique: true}    # two rows with the same keys stop the run
# limits: {max_quarantined_rows: 100}     # rows that may fail; none by default
# drift: {gate: hold}                     # a critical finding waits for `nightscore approve`
# labels: {uri: URI, column: COLUMN, partition: {column: COLUMN}}   # for `nightscore evaluate`
"""


def job_text(job: Mapping[str, Any], guesses: Sequence[Guess], path: Path) -> str:
    """The job file, with what was guessed as comments.

    Paths in the project begin at the file, so that it can be moved and shared.
    """
    project = f"{path.parent.parent}/"
    inside = [replace(guess, reason=guess.reason.replace(project, "")) for guess in guesses]
    guess_by_key = {guess.key: guess for guess in inside}
    lines = ["# yaml-language-server: $schema=../schemas/job.schema.json"]

    for key, value in _relocatable(job, str(path.parent)).items():
        for name, text in COMMENTS.get(key, {}).items():
            if name in guess_by_key:
                lines += _comment(text.format(guess=guess_by_key[name]))
        lines += yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True).splitlines()

    if "keys" not in job and "keys" in guess_by_key:
        lines += _comment(f"keys: {guess_by_key['keys'].value}: {guess_by_key['keys'].reason}")

    return "\n".join([*lines, MORE_KEYS])


def _relocatable(job: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The job with the places that are in its project as they are seen from its file."""
    registry = job["registry"]
    if registry and registry.startswith(SQLITE):
        registry = SQLITE + from_job_folder(registry.removeprefix(SQLITE), folder)
    elif registry:
        registry = from_job_folder(registry, folder)

    places = {
        name: {**job[name], "uri": from_job_folder(job[name]["uri"], folder)}
        for name in ("input", "output")
    }
    return {**job, "registry": registry, **places}


def _comment(text: str) -> list[str]:
    wrapped = textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return [f"# {line}" for line in wrapped]


def schema_text() -> str:
    """The JSON Schema of job files, for editors."""
    return Path(str(nightscore.schemas.__file__)).with_name("job.schema.json").read_text()


def constraints_text() -> str:
    """Versions that were tested together."""
    return nightscore.deploy.CONSTRAINTS.read_text()


def prefect_text(name: str) -> str:
    """The deployments of the job, as those of the demo are."""
    text = (nightscore.deploy.FOLDER / "prefect.yaml").read_text()
    body = text[text.index("\nname: ") + 1 :]  # its header is about the demo
    body = body.replace(f'job: "{DEMO_JOB}"', f'job: "{HERE}/jobs/{name}.yaml"')
    body = body.replace(DEMO_JOB, name).replace(DEMO_ZONE, "UTC")
    body = _without_the_last(body)

    return f"""\
# The nightly run, backfills and single partitions of {name} as Prefect deployments.
# Without changes, `nightscore deploy jobs/{name}.yaml --cron "0 3 * * *"` makes the same.
#   prefect work-pool create local --type process
#   prefect --no-prompt deploy --all
#   prefect worker start --pool local
# The schedule is below `schedules`. Call `prefect deploy` in this folder: Prefect needs absolute
# paths, and gets those of the folder as it is called there.
build:
  - prefect.deployments.steps.run_shell_script:
      id: here
      script: pwd -P
      stream_output: false
pull:
  - prefect.deployments.steps.set_working_directory:
      directory: "{HERE}"

{body}"""


def _without_the_last(deployments: str) -> str:
    """The deployments with the last ones as comments: a new job has no labels yet."""
    start = deployments.index(OF_LABELS)
    first, *lines = deployments[start:].rstrip().split("\n")
    commented = [line.replace("  ", "  # ", 1) for line in lines]
    return "\n".join([deployments[:start] + first, *commented, ""])


def readme_text(name: str, job_file: str, partition: str, install: str) -> str:
    """What somebody reads who finds the project."""
    return f"""\
# {name}

Batch scoring with nightscore. [{job_file}]({job_file}) says what is scored, with which model, and
where the predictions go. Run all commands in this folder.

```
pip install -c constraints.txt {install}
nightscore check {job_file}                # is everything in place?
nightscore run {job_file} {partition}
nightscore report {job_file} {partition}
nightscore partitions {job_file}           # what is published, missing or stale
nightscore --help
```

Paths in this folder begin at the job file, with `${{NIGHTSCORE_JOB_FOLDER}}`: you can move, commit
and clone the folder. Other paths are absolute.

New data belongs in a folder `<input.partition_key>=<date>/` directly below `input.uri`, as the job
file has them. Have it written there. Files that arrive later where `nightscore init --data` found
the first ones are not seen.

Every night, with a Prefect server in `PREFECT_API_URL`. `nightscore up` starts one here, with a
worker, and deploys this job; it needs the extra `demo`.

```
nightscore deploy {job_file} --cron "0 3 * * *"
prefect worker start --pool local
```

| file | what it is |
| --- | --- |
| `{job_file}` | the job; comments say what `nightscore init` guessed, and why |
| `schemas/job.schema.json` | completes and checks the job file in editors |
| `prefect.yaml` | the same deployments as a file, if you want to change them |
| `constraints.txt` | versions of libraries that were tested together |
"""
