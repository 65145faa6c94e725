"""Everything that can go wrong, drawn first.

ScoringError                    exit 1
├── InvalidJobError             exit 2   the job file, or how a command was called
├── InputError                           the partition's files
│   ├── PartitionNotFoundError
│   ├── CorruptFileError
│   └── InputChangedError       retryable
├── ContractError                        the files do not fit the model; nothing was read
├── LabelError                           labels that cannot be joined with the predictions
├── QuarantineLimitError                 more rows cannot be scored than the job allows
├── ModelError
│   ├── ModelNotFoundError
│   ├── ModelDigestError                 not the artifacts that were pinned; nothing was unpickled
│   ├── ModelRefusedError                loading it would run code that nobody has allowed
│   ├── ModelLoadError
│   │   └── ModelStructureError          its parts point outside of it, or in circles
│   └── ModelAnswerError                 its predictions have other shapes or types than expected
├── StorageError
│   ├── LocationNotFoundError            no such bucket, folder or file
│   ├── CredentialsError
│   └── StorageUnavailableError retryable, resumable
├── MemoryLimitError                     the plan does not fit the job's limit
├── ShardError                           a shard cannot be scored, whichever worker tries it
├── WorkerError                 retryable, resumable
│   └── WorkerHungError         retryable, resumable; a call did not end in time
├── ClusterError                         its workers cannot run what this driver would send them
├── StackError                           a service of `nightscore up` does not start, or ended
├── DeploymentError                      Prefect's server does not answer, or refuses
├── ReconciliationError                  rows are missing; a defect of nightscore
├── ChallengerError                      a challenger has ended; the job's own model goes on
├── GateError                            a gate of the job failed; nothing was published
├── ReleaseError                         a model version must not go live; the alias was not moved
├── ConflictError               exit 4   another run published the partition meanwhile
│   └── LeaseError              retryable, resumable; another command is changing the partition
└── InterruptedRunError         exit 130, resumable

Retryable: the same run may succeed a little later.
Resumable: the next run goes on from the shards that are finished.
"""

from collections.abc import Sequence

from nightscore.schemas.masking import masked
from nightscore.schemas.text import printable


class ScoringError(Exception):
    """What failed, where, expected against found, and the next step.

    `problems` has every problem, not just the first one.
    """

    exit_code = 1
    retryable = False
    resumable = False

    def __init__(
        self,
        what: str,
        where: str = "",
        expected: str = "",
        found: str = "",
        next_step: str = "",
        problems: Sequence[str] = (),
    ) -> None:
        """Make an error. Secrets in its texts are masked.

        Args:
            what: What failed, and what that means: "nothing was published".
            where: Partition, column, path or URL.
            expected: What should be there, with units.
            found: What is there instead.
            next_step: What to do about it, if possible a command.
            problems: All single problems, each with its place.
        """
        what, where, expected, found, next_step = map(
            masked, (what, where, expected, found, next_step)
        )
        problems = tuple(map(masked, problems))
        # The constructor's own arguments, so that the error survives pickling between processes.
        super().__init__(what, where, expected, found, next_step, problems)
        self.what = what
        self.where = where

        self.expected = expected
        self.found = found
        self.next_step = next_step
        self.problems = problems

    def __str__(self) -> str:
        """The text that people see."""
        # Names of files and columns and answers of stores come from outside.
        # None of them may forge a line.
        lines = [printable(self.what)]
        named = (
            ("where", self.where),
            ("expected", self.expected),
            ("found", self.found),
        )
        lines += [f"  {name + ':':<10}{printable(text)}" for name, text in named if text]
        lines += [f"  - {printable(problem)}" for problem in self.problems]

        if self.next_step:
            lines.append(f"  {'next:':<10}{printable(self.next_step)}")

        return "\n".join(lines)


class InvalidJobError(ScoringError):
    """The job file, or how a command was called, is invalid."""

    exit_code = 2


class InputError(ScoringError):
    """The files of the partition cannot be used."""


class PartitionNotFoundError(InputError):
    """There is no such partition."""


class CorruptFileError(InputError):
    """A file is damaged."""


class InputChangedError(InputError):
    """The input changed while it was read."""

    retryable = True


class ContractError(ScoringError):
    """The files do not fit the model. Nothing was read."""


class LabelError(ScoringError):
    """The labels of a job cannot be joined with its predictions."""


class QuarantineLimitError(ScoringError):
    """More rows cannot be scored than the job allows."""


class ModelError(ScoringError):
    """The model cannot be used."""


class ModelNotFoundError(ModelError):
    """The registry has no such model or version."""


class ModelDigestError(ModelError):
    """The artifacts are not those that were pinned. Nothing was unpickled."""


class ModelRefusedError(ModelError):
    """Loading the model would run code that nobody has allowed."""


class ModelLoadError(ModelError):
    """The model cannot be loaded."""


class ModelStructureError(ModelLoadError):
    """The model's parts point outside of it, or in circles. It was not used."""


class ModelAnswerError(ModelError):
    """The model's predictions do not have the shape or types that they should have."""


class StorageError(ScoringError):
    """A store cannot do what the job needs."""


class LocationNotFoundError(StorageError):
    """There is no such bucket, folder or file."""


class CredentialsError(StorageError):
    """A store refused the credentials, or there are none."""


class StorageUnavailableError(StorageError):
    """A store does not answer, or failed. It may answer a little later."""

    retryable = True
    resumable = True


class MemoryLimitError(ScoringError):
    """The plan does not fit the memory limit of the job."""


class ShardError(ScoringError):
    """A shard cannot be scored, whichever worker tries it."""


class WorkerError(ScoringError):
    """A worker process died."""

    retryable = True
    resumable = True


class WorkerHungError(WorkerError):
    """A worker did not end a call in time."""


class ClusterError(ScoringError):
    """The cluster's workers cannot run what this driver would send them."""


class StackError(ScoringError):
    """A service of this machine cannot be started, or ended. All of them are stopped."""


class DeploymentError(ScoringError):
    """Prefect's server does not answer, or refuses what it was told."""


class ReconciliationError(ScoringError):
    """Rows in are not rows scored plus rows quarantined. This is a defect of nightscore."""


class ChallengerError(ScoringError):
    """A challenger did not score all rows. The job's own model goes on without it."""


class GateError(ScoringError):
    """A gate of the job failed. Nothing was published."""


class ReleaseError(ScoringError):
    """A model version must not go live. The alias was not moved."""


class ConflictError(ScoringError):
    """Another run published the partition meanwhile."""

    exit_code = 4


class LeaseError(ConflictError):
    """Another command is changing the partition."""

    retryable = True
    resumable = True


class InterruptedRunError(ScoringError):
    """The run was stopped from outside."""

    exit_code = 130
    resumable = True
