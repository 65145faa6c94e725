"""An S3 server of one process, started by the tests that need one."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightscore.storage.store import Store

S3_KEY, S3_SECRET, BUCKET = "testadmin", "testadminsecret", "lake"


@dataclass(frozen=True)
class S3Server:
    """A running SeaweedFS."""

    endpoint: str
    options: dict[str, Any] = field(repr=False)


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[S3Server]:
    """A SeaweedFS server of one process; its ports are free ones of this machine."""
    names = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port")
    ports = dict(zip(names, _free_ports(2 * len(names) + 1), strict=False))
    rest = iter(_free_ports(len(names) + 1))
    arguments = [f"-{name}={port}" for name, port in ports.items()]
    arguments += [f"-{name}.grpc={next(rest)}" for name in names]
    arguments += [
        f"-s3.port.iceberg={next(rest)}",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
    ]
    arguments += [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        f"-bucket={BUCKET}",
    ]
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": S3_KEY,
        "AWS_SECRET_ACCESS_KEY": S3_SECRET,
        "GOMEMLIMIT": "400MiB",
    }
    weed = Path(shutil.which("weed") or Path(os.sys.executable).with_name("weed"))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [str(weed), "mini", f"-dir={folder}", *arguments],
            env=environment,
            stdout=log,
            stderr=log,
        )
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    options = {"key": S3_KEY, "secret": S3_SECRET, "endpoint_url": endpoint}
    try:
        _wait_for_bucket(endpoint, options, process, folder / "log")
        yield S3Server(endpoint, options)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_bucket(
    endpoint: str, options: dict[str, Any], process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(log.read_text()[-2000:])
        try:
            with urllib.request.urlopen(endpoint, timeout=2):
                pass
        except urllib.error.HTTPError as answer:
            answer.close()
            with contextlib.suppress(Exception):
                Store(f"s3://{BUCKET}/probe", options).write_bytes("x", b"x")
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"SeaweedFS did not start; see {log}")


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
