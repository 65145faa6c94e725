"""Sees at a glance whether a partition may be published already, so that no process is needed."""

from pathlib import Path

from nightscore.inputs.job_lookup import find_job

PARTITION_KEY = "ds"
"""Of a job that does not say. A wrong guess costs time, never a result."""


def has_records(job: str, words: list[str]) -> bool:
    """Whether this machine has records of runs of the partition that a call names.

    Only a job file and an output on this machine are looked at. Anything unclear is answered with
    False: the processes then start at once, as for a partition that was never scored.

    Args:
        job: The job, as it was typed.
        words: The arguments of `nightscore run`.
    """
    if "--force" in words:
        return False

    import yaml

    try:
        document = yaml.safe_load(Path(find_job(job)).read_text())
        output = str(document["output"]["uri"]).removeprefix("file://")
        key = document["input"].get("partition_key", PARTITION_KEY)
        state = Path(f"{output.rstrip('/')}.nightscore", "runs").expanduser()
    except Exception:  # noqa: BLE001 (the command reads it again, and says what is wrong)
        return False

    values = [word for word in words if word != job and not word.startswith("-")]
    return any((state / f"{key}={value}").is_dir() for value in values)
