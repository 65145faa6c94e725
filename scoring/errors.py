"""Everything that can go wrong, drawn first.

ScoringError                    exit 1
├── InvalidJobError             exit 2   the job file, or how a command was called
├── InputError                           the partition's files
│   ├── PartitionNotFoundError
│   ├── CorruptFileError
│   └── InputChangedError       retryable
├── ContractError                        the files do not fit the model; nothing was read
├── QuarantineLimitError                 more rows could not be scored than the job allows
├── ModelError
│   ├── ModelNotFoundError
│   ├── ModelDigestError                 not the artifacts that were pinned; nothing was unpickled
│   ├── ModelRefusedError                loading it would run code that nobody has allowed
│   └── ModelLoadError
│       └── ModelStructureError          its parts point outside of it, or in circles; it was not used
├── StorageError
│   ├── LocationNotFoundError            no such bucket, folder or file
│   ├── CredentialsError
│   └── StorageUnavailableError retryable, resumable
├── MemoryLimitError                     the plan does not fit the job's bound
├── WorkerError                 retryable, resumable
│   └── WorkerHungError retryable, resumable a call did not end in its time
├── ClusterError                         its workers cannot run what this driver would send them
├── ReconciliationError                  rows in is not rows scored + rows quarantined; a defect of nightscore
├── GateError                            a gate of the job failed; nothing was published
├── ConflictError               exit 4   another run published the partition meanwhile
│   └── LeaseError  retryable, resumable another command is changing the partition
└── InterruptedRunError         exit 130, resumable

Retryable: the same run may succeed a little later. Resumable: what it has scored stays for the next run.
"""

from collections.abc import Sequence

from nightscore.schemas.masking import masked
from nightscore.schemas.text import printable


class ScoringError(Exception):
    """What failed, where, expected against found, and the next step.

    Every problem that was found is in `problems`, not just the first.
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
        # Names of files and columns, and what stores answer, come from outside: none may forge a line.
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
    exit_code = 2


class InputError(ScoringError):
    pass


class PartitionNotFoundError(InputError):
    pass


class CorruptFileError(InputError):
    pass


class InputChangedError(InputError):
    retryable = True


class ContractError(ScoringError):
    pass


class QuarantineLimitError(ScoringError):
    pass


class ModelError(ScoringError):
    pass


class ModelNotFoundError(ModelError):
    pass


class ModelDigestError(ModelError):
    pass


class ModelRefusedError(ModelError):
    pass


class ModelLoadError(ModelError):
    pass


class ModelStructureError(ModelLoadError):
    pass


class ModelAnswerError(ModelError):
    pass


class StorageError(ScoringError):
    pass


class LocationNotFoundError(StorageError):
    pass


class CredentialsError(StorageError):
    pass


class StorageUnavailableError(StorageError):
    retryable = True
    resumable = True


class MemoryLimitError(ScoringError):
    pass


class ShardError(ScoringError):
    pass


class WorkerError(ScoringError):
    retryable = True
    resumable = True


class WorkerHungError(WorkerError):
    pass


class ClusterError(ScoringError):
    pass


class ReconciliationError(ScoringError):
    pass


class GateError(ScoringError):
    pass


class ConflictError(ScoringError):
    exit_code = 4


class LeaseError(ConflictError):
    retryable = True
    resumable = True


class InterruptedRunError(ScoringError):
    exit_code = 130
    resumable = True
