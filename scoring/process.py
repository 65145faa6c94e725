"""What this process has used, and what it may use."""

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path


def peak_resident_bytes() -> int:
    """Peak resident memory since the process was started.

    Linux says it itself; `getrusage` there counts the parent's memory too, from before the exec.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


M_ARENA_MAX = -8
"""Of glibc's malloc.h."""


def bound_arenas() -> None:
    """Have glibc share two arenas among all threads: each further one reserves 64 MiB of address space for good,
    which a process under `ulimit -v` does not have. Elsewhere nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def limit_address_space(n_bytes: int | None) -> None:
    """Let this process take so much more address space than it has; allocations beyond raise MemoryError.

    None lifts that again. A page of a Parquet file may say that it decodes to a terabyte. Where the system knows no
    such limit, or a lower one is set already, nothing changes.
    """
    if sys.platform != "linux":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if n_bytes is None:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        return
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    wanted = taken + n_bytes
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def available_bytes() -> int:
    """Memory that the machine can give without swapping; as much as it has where that cannot be told."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
