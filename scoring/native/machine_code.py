"""The kernels' machine code: compiled by Numba once per host, then loaded without it.

A kernel is compiled for the types of its arguments. The result is an object file, which LLVM loads
by itself: importing Numba takes longer than scoring a hundred thousand rows. Whoever can write
these files can run code here, so they are in a private folder.
"""

import ctypes
import functools
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nightscore.native.arguments import ArgumentTypes, argument_type, c_types, c_values
from nightscore.native.column_places import ColumnPlaces
from nightscore.native.count_buffers import CountBuffers
from nightscore.native.object_files import (
    compile_object,
    read_object,
    write_object,
)
from nightscore.native.private_files import is_private
from nightscore.native.search_trees import BinSearch
from nightscore.native.sources import source_digest
from nightscore.native.variants import (
    Variant,
    choose_variant,
    named_variant,
    processor_of,
    target_machine,
)
from nightscore.process import installed_version

CODE_FOLDER = "machine-code"
"""Name of the folder, beside the cached models."""


class Kernels:
    """Has each function of `kernels` as an attribute. Threads may share it."""

    def __init__(self, folder: Path, variant: Variant | None = None) -> None:
        """Use the object files in a private folder, see `load_kernels`.

        Args:
            folder: The folder.
            variant: What is called, and compiled if need be. None: see `choose_variant`.
        """
        self._folder = folder
        self.variant = variant or choose_variant()
        self._lock = threading.Lock()
        self._engine: Any = None
        self._addresses: dict[str, int] = {}
        """Addresses by symbol: threads that call a kernel for the first time load it once."""

    def __getattr__(self, name: str) -> "Kernel":
        """Make a kernel. After that it is an ordinary attribute."""
        if name.startswith("_"):
            raise AttributeError(name)

        kernel: Kernel = self.__dict__.setdefault(name, Kernel(name, self._address))
        return kernel

    def _address(self, name: str, types: ArgumentTypes) -> int:
        """The address of a kernel's code for such arguments.

        It is compiled here if no process of this host has done so.
        """
        with self._lock:
            engine = self._get_engine()
            symbol = _symbol(self.variant, name, types)
            if symbol not in self._addresses:
                self._load(engine, name, types, symbol)
            return self._addresses[symbol]

    def _get_engine(self) -> Any:
        import llvmlite.binding as llvm

        if self._engine is None:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
            self._engine = llvm.create_mcjit_compiler(
                llvm.parse_assembly(""), target_machine(self.variant)
            )
        return self._engine

    def _load(self, engine: Any, name: str, types: ArgumentTypes, symbol: str) -> None:
        import llvmlite.binding as llvm

        path = self._folder / f"{symbol}.o"
        code = read_object(path)
        if code is None:
            code = compile_object(name, types, symbol, self.variant)
            write_object(path, code)

        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        self._addresses[symbol] = int(engine.get_function_address(symbol))


class Kernel:
    """One function of `kernels`. It takes arrays and numbers, and releases the GIL."""

    def __init__(self, name: str, address: Callable[[str, ArgumentTypes], int]) -> None:
        """Name a kernel.

        Args:
            name: Its name.
            address: Finds its code for some types of arguments.
        """
        self._name, self._address = name, address
        self._functions: dict[ArgumentTypes, Callable[..., int]] = {}

    def __call__(self, *arguments: Any) -> int:
        """Call the code for arguments of these types."""
        return self.call(_types(arguments), _values(arguments))

    def bind(self, *last: Any) -> "BoundKernel":
        """The kernel with its last arguments, which are taken apart once."""
        return BoundKernel(self, last)

    def call(self, types: ArgumentTypes, values: list[Any]) -> int:
        """Call the code for some types, with the parts of the arguments."""
        function = self._functions.get(types)
        if function is None:
            function = self._functions[types] = self._load(types)

        result, error = ctypes.c_int64(0), ctypes.c_void_p()

        if function(ctypes.byref(result), ctypes.byref(error), *values):
            raise RuntimeError(f"the kernel {self._name} failed")

        return result.value

    def _load(self, types: ArgumentTypes) -> Callable[..., int]:
        parts = [part for argument in types for part in c_types(argument)]
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *parts)
        return prototype(self._address(self._name, types))


class BoundKernel:
    """A kernel with its last arguments. They are kept as long as it is."""

    def __init__(self, kernel: Kernel, last: tuple[Any, ...]) -> None:
        """Take the last arguments apart."""
        self._kernel, self._last = kernel, last
        self._types, self._values = _types(last), _values(last)

    def __call__(self, *first: Any) -> int:
        """Call the kernel with its first arguments."""
        return self._kernel.call(_types(first) + self._types, _values(first) + self._values)


def _types(arguments: tuple[Any, ...]) -> ArgumentTypes:
    return tuple(map(argument_type, arguments))


def _values(arguments: tuple[Any, ...]) -> list[Any]:
    return [value for argument in arguments for value in c_values(argument)]


def has_machine_code(cache: Path) -> bool:
    """Whether a process of this host has compiled kernels of the variant that is to be used."""
    return any(_build_folder(cache / CODE_FOLDER, named_variant()).glob("*.o"))


def load_kernels(folder: Path) -> Kernels:
    """The kernels, compiled by their first call or by an earlier process of this host.

    Machine code is valid for the sources of this package, the versions of Numba and LLVM, and the
    name and features of the CPU that it was compiled for. Damaged code is compiled again.

    Raises:
        PermissionError: Others can write to the folder.
        InvalidJobError: The setting names no variant that this host can run.
    """
    return _load_kernels(folder, named_variant())


@functools.cache
def _load_kernels(folder: Path, variant: str) -> Kernels:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    if not is_private(folder):
        raise PermissionError(f"{folder} holds machine code, and others can write to it: remove it")

    build = _build_folder(folder, variant)
    build.mkdir(exist_ok=True, mode=0o700)
    kernels = Kernels(build)
    _load_counting(kernels)
    _loaded.append(kernels)

    return kernels


def loaded_kernels() -> Kernels | None:
    """The kernels, or None: this process has not loaded them. Code that can do without does not."""
    return _loaded[0] if _loaded else None


_loaded: list[Kernels] = []


def _load_counting(kernels: Kernels) -> None:
    """Call what profiles use: it is compiled now, before the address space is limited."""
    buffers = CountBuffers(1, with_hashes=True)
    one = ColumnPlaces(1)
    one.put_values(0, np.zeros(1), np.zeros(1, np.uint8), -1)
    kernels.count_columns(
        one.places,
        BinSearch(np.empty(0)).row[None],
        np.zeros((1, 5)),
        np.zeros(1, np.int64),
        *buffers.arguments,
    )


@functools.cache
def build_digest(package: Path = Path(__file__).parent) -> str:
    """A digest of the sources and of what compiles them."""
    versions = tuple(installed_version(name) for name in ("numba", "llvmlite"))
    content = source_digest(package)
    return hashlib.sha256(repr((versions, content)).encode()).hexdigest()[:16]


def _build_folder(folder: Path, variant: str) -> Path:
    """The folder of the code of a variant; empty: of the best one of each host."""
    return folder / "-".join(filter(None, (build_digest(), variant)))


def _symbol(variant: Variant, name: str, types: ArgumentTypes) -> str:
    """The name of a kernel's code of a variant on this machine, for some types of arguments."""
    import llvmlite.binding as llvm

    processor = processor_of(variant)
    machine = f"{processor.name} {processor.flags}"
    described = repr((llvm.llvm_version_info, machine, name, types))
    return f"{name}_{hashlib.sha256(described.encode()).hexdigest()[:16]}"
