"""What this process has used."""

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
