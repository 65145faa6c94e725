"""Sees at a glance whether a partition may be published already, so that no process is needed."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from nightscore.inputs.job_folder import folder_of
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

    from nightscore.inputs.job_document import read_document
    from nightscore.inputs.job_references import expand_references
    from nightscore.schemas.short_forms import read_section

    as_section = read_section("uri")
    try:
        path = find_job(job)
        document = read_document(path, Path(path).read_bytes())
        document, _ = expand_references(document, folder_of(path))
        output = str(as_section(document["output"])["uri"])
        key = as_section(document["input"]).get("partition_key", PARTITION_KEY)
        folder = unquote(urlsplit(output).path) if output.startswith("file://") else output
        state = Path(f"{folder.rstrip('/')}.nightscore", "runs")
    except Exception:  # noqa: BLE001 (the command reads it again, and says what is wrong)
        return False

    values = [word for word in words if word != job and not word.startswith("-")]
    return any((state / f"{key}={value}").is_dir() for value in values)
