"""Fills the job into the commands that messages of the engine name.

Who writes such a message often knows no job, as when a disk is full. Who shows it does.
"""

import re
import shlex

_OF_A_JOB = ("partitions", "clean", "runs")
_OF_A_PARTITION = ("run", "explain", "verify", "report", "history")
_BARE = re.compile(
    rf"`nightscore ({'|'.join((*_OF_A_JOB, *_OF_A_PARTITION, 'rollback'))})(?=`| --)"
)
"""A command in backticks, without its job."""


def name_job(message: str, job: str, partition: str | None) -> str:
    """The message with commands that can be pasted.

    Args:
        message: Bare commands in it are in backticks: `nightscore clean`.
        job: The job as it was given: a name, a path or a URL.
        partition: As it was given. None: it is not known, and commands that need one stay bare.
    """

    def filled(match: re.Match[str]) -> str:
        verb = match[1]
        words = [verb, job]
        if verb not in _OF_A_JOB:
            if partition is None:
                return match[0]
            words += ["--from", partition, "--to", partition] if verb == "rollback" else [partition]
        return f"`{shlex.join(['nightscore', *words])}"

    return _BARE.sub(filled, message)
