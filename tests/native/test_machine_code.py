"""Machine code is compiled once a host, then loaded without what compiled it."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nightscore.native import machine_code, object_files
from nightscore.native.machine_code import Kernels, has_machine_code, load_kernels

SUM_UP = """
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from nightscore.native.machine_code import load_kernels
out = np.empty(3)
load_kernels(Path(sys.argv[1])).expit(np.array([-1.0, 0.0, 1.0]), out)
assert out[1] == 0.5, out
print("numba" in sys.modules)
"""


@pytest.mark.slow
def test_a_second_process_does_without_the_compiler(tmp_path: Path) -> None:
    def process() -> str:
        command = [sys.executable, "-c", SUM_UP, str(tmp_path / machine_code.CODE_FOLDER)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert not has_machine_code(tmp_path)
    assert process() == "True"
    assert has_machine_code(tmp_path)
    assert process() == "False"


@pytest.mark.slow
def test_damaged_code_is_compiled_again(tmp_path: Path) -> None:
    values, out = np.zeros(2), np.zeros(2)
    Kernels(tmp_path).expit(values, out)
    (path,) = tmp_path.glob("*.o")
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:100] + b"\0" + whole[101:], b""):
        path.write_bytes(damaged)
        out[:] = 0
        Kernels(tmp_path).expit(values, out)
        assert out.tolist() == [0.5, 0.5]
        assert path.read_bytes() == whole


@pytest.mark.slow
def test_each_kind_of_argument_has_code_of_its_own(tmp_path: Path) -> None:
    kernels = Kernels(tmp_path)
    packed = np.frombuffer(b"\0" + np.arange(4, dtype=np.float32).tobytes(), np.uint8)
    unaligned = packed[1:].view(np.float32)
    for values in (
        np.arange(4.0),
        np.arange(4, dtype=np.float32),
        np.repeat(np.arange(4.0), 2)[::2],
        unaligned,
    ):
        out = np.empty(4, values.dtype)
        kernels.exp(values, out)
        assert np.allclose(out, np.exp(np.arange(4)), rtol=1e-6)
    assert len(list(tmp_path.glob("*.o"))) == 4


def test_a_kernel_that_would_need_python_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_files, "ALLOWED_CALLS", frozenset())
    with pytest.raises(RuntimeError, match="log1p"):
        Kernels(tmp_path).log1p_exp(np.zeros(1), np.zeros(1))
    assert not list(tmp_path.glob("*.o"))


def test_a_folder_that_others_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / machine_code.CODE_FOLDER
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match="others can write"):
        load_kernels(folder)


def test_threads_that_call_a_kernel_for_the_first_time_load_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    read = machine_code.read_object
    monkeypatch.setattr(machine_code, "read_object", lambda path: reads.append(path) or read(path))
    kernels, barrier = Kernels(tmp_path), threading.Barrier(4)

    def call(_: int) -> list[float]:
        out = np.empty(2)
        barrier.wait()
        kernels.expit(np.zeros(2), out)
        return out.tolist()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(call, range(4))) == [[0.5, 0.5]] * 4
    assert len(reads) == 1
    assert kernels.expit is kernels.expit
