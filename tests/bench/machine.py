"""What a measurement was made on."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

VECTOR_EXTENSIONS = ("sse4_2", "avx2", "avx512f", "avx512_vbmi")
"""As Linux names them."""


def cpu_name() -> str:
    """The processor as the kernel names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def vector_extensions() -> list[str]:
    """Those of the processor that decide which kernels it runs."""
    path = Path("/proc/cpuinfo")
    flags = path.read_text().partition("flags")[2].partition("\n")[0] if path.exists() else ""
    return [name for name in VECTOR_EXTENSIONS if name in flags.split()]


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> dict[str, Any]:
    """Cores, memory, kernel and how busy the machine is now."""
    return {
        "cpu": cpu_name(),
        "vectors": vector_extensions(),
        "cores": n_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def versions(names: Iterable[str]) -> dict[str, str]:
    """Version of each distribution that is installed."""
    versions_by_name = {}
    for name in names:
        try:
            versions_by_name[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions_by_name


def java_version() -> str | None:
    """Of the `java` that Spark would start; None without one."""
    home = os.environ.get("JAVA_HOME")
    try:
        process = subprocess.run(
            [f"{home}/bin/java" if home else "java", "-version"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return process.stderr.partition('"')[2].partition('"')[0] or None
