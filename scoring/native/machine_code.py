"""The kernels' machine code: compiled once a host by Numba, then loaded without it.

A kernel is compiled for the types that it is called with. What comes of it is kept as one object file, which LLVM
alone loads: importing Numba takes longer than scoring a hundred thousand rows. The files lie in a private folder,
since whoever can write there can run code here.
"""

import ctypes
import functools
import hashlib
import importlib.metadata
import os
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from nightscore.native.count_buffers import CountBuffers
from nightscore.native.search_trees import edge_tree
from nightscore.native.sources import source_digest

CODE_FOLDER = "machine-code"
"""Beside the cached models."""
DIGEST_BYTES = 32
FROM_OUTSIDE = frozenset(("exp", "expf", "log1p", "log1pf", "memcpy", "memmove", "memset"))
"""C's functions that machine code may call: it never calls into Python, allocates nothing and raises nothing."""

Kind = tuple[str, int, bool, bool]
"""Of an argument: NumPy's name of the type, dimensions, whether they are contiguous, and whether they are aligned."""
Kinds = tuple[Kind, ...]


class Kernels:
    """Has each function of `kernels` as an attribute; safe in threads."""

    def __init__(self, folder: Path) -> None:
        """See `load_kernels`."""
        self._folder = folder
        self._lock = threading.Lock()
        self._engine: Any = None
        self._addresses: dict[str, int] = {}
        """By symbol: two threads that call a kernel for the first time load it once."""

    def __getattr__(self, name: str) -> "Kernel":
        """Asked once a kernel, which then is an attribute like any other."""
        if name.startswith("_"):
            raise AttributeError(name)
        found: Kernel = self.__dict__.setdefault(name, Kernel(name, self._address))
        return found

    def _address(self, name: str, kinds: Kinds) -> int:
        """Where a kernel's code for such arguments is, compiled now if no process of this host has done it yet."""
        import llvmlite.binding as llvm

        with self._lock:
            if self._engine is None:
                llvm.initialize_native_target()
                llvm.initialize_native_asmprinter()
                self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
            machine = f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
            digest = hashlib.sha256(
                repr((llvm.llvm_version_info, machine, name, kinds)).encode()
            ).hexdigest()
            symbol = f"{name}_{digest[:16]}"
            if symbol in self._addresses:
                return self._addresses[symbol]
            path = self._folder / f"{symbol}.o"
            code = _read(path)
            if code is None:
                code = _compile(name, kinds, symbol)
                _write(path, code)
            self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            self._engine.finalize_object()
            self._addresses[symbol] = int(self._engine.get_function_address(symbol))
            return self._addresses[symbol]


class Kernel:
    """One function of `kernels`: called with arrays and numbers, it gives a whole number, and holds no GIL."""

    def __init__(self, name: str, address: Callable[[str, Kinds], int]) -> None:
        self._name, self._address = name, address
        self._functions: dict[Kinds, Callable[..., int]] = {}

    def __call__(self, *arguments: Any) -> int:
        """Call the code for arguments of these types."""
        kinds = tuple(map(_kind, arguments))
        function = self._functions.get(kinds)
        if function is None:
            types = [kind for argument in kinds for kind in _c_types(argument)]
            prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *types)
            function = self._functions[kinds] = prototype(self._address(self._name, kinds))
        found, error = ctypes.c_int64(0), ctypes.c_void_p()
        flat = [value for argument in arguments for value in _c_values(argument)]
        if function(ctypes.byref(found), ctypes.byref(error), *flat):
            raise RuntimeError(f"the kernel {self._name} failed")
        return found.value


def has_machine_code(cache: Path) -> bool:
    """Whether some process of this host has compiled already."""
    return any((cache / CODE_FOLDER / _build()).glob("*.o"))


@functools.cache
def load_kernels(folder: Path) -> Kernels:
    """The kernels, compiled when they are first called or by an earlier process of this host.

    Machine code is valid for the sources of this package, the versions of Numba and LLVM, and the CPU's name and
    features. What is damaged is compiled again.

    Raises:
        PermissionError: Others can write to the folder.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not is_private(folder):
        raise PermissionError(f"{folder} holds machine code, and others can write to it: remove it")
    mine = folder / _build()
    mine.mkdir(exist_ok=True, mode=0o700)
    kernels = Kernels(mine)
    _load_counts(kernels)
    _loaded.append(kernels)
    return kernels


def _load_counts(kernels: Kernels) -> None:
    """What profiles use: compiled now, before the address space is limited."""
    buffers = CountBuffers.for_bins(1, np.empty(0, np.uint64))
    values, bits = np.zeros(1), np.zeros(1, np.uint8)
    kernels.count_numbers(
        values, bits, -1, *edge_tree(np.empty(0)), 0.0, 0.0, 0.0, *buffers.arguments
    )


def loaded_kernels() -> Kernels | None:
    """The kernels, if this process has loaded them: who can do without does not load them."""
    return _loaded[0] if _loaded else None


_loaded: list[Kernels] = []


def is_private(folder: Path) -> bool:
    """Whether only this user can write to it."""
    return is_owned(folder.stat())


def is_owned(found: os.stat_result) -> bool:
    """Whether a folder or file is this user's, and nobody else may write to it."""
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@functools.cache
def _build(package: Path = Path(__file__).parent) -> str:
    """Of the sources and of what compiles them."""
    versions = tuple(importlib.metadata.version(name) for name in ("numba", "llvmlite"))
    content = source_digest(package)
    return hashlib.sha256(repr((versions, content)).encode()).hexdigest()[:16]


def _kind(argument: Any) -> Kind:
    if isinstance(argument, np.ndarray):
        return (
            argument.dtype.str,
            argument.ndim,
            argument.flags.c_contiguous,
            argument.flags.aligned,
        )
    if isinstance(argument, np.generic):
        return argument.dtype.str, 0, True, True
    return ("<f8" if isinstance(argument, float) else "<i8"), 0, True, True


def _c_types(kind: Kind) -> Iterable[Any]:
    """An argument's parts as Numba's machine code takes them.

    Source: `numba.core.datamodel.models.ArrayModel`, two owners, size, item size, data, shape and strides.
    """
    name, n_dimensions, *_ = kind
    if not n_dimensions:
        return (np.ctypeslib.as_ctypes_type(np.dtype(name)),)
    owners = (ctypes.c_void_p, ctypes.c_void_p)
    return (
        *owners,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
        *[ctypes.c_int64] * (2 * n_dimensions),
    )


def _c_values(argument: Any) -> Iterable[Any]:
    if isinstance(argument, np.ndarray):
        address = argument.ctypes.data
        return (
            None,
            None,
            argument.size,
            argument.itemsize,
            address,
            *argument.shape,
            *argument.strides,
        )
    return (argument.item() if isinstance(argument, np.generic) else argument,)


def _compile(name: str, kinds: Kinds, symbol: str) -> bytes:
    """An object file that defines the symbol."""
    import llvmlite.binding as llvm
    import numba

    from nightscore.native import kernels

    function = getattr(kernels, name)
    signature = tuple(_numba_type(numba, kind) for kind in kinds)
    function.compile(signature)
    module = llvm.parse_assembly(function.inspect_llvm(signature))
    module.get_function(function.overloads[signature].fndesc.llvm_func_name).name = symbol
    module.verify()
    missing = {
        f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")
    } - FROM_OUTSIDE
    if missing:
        raise RuntimeError(
            f"the kernel {name} calls what machine code must not call: {', '.join(sorted(missing))}"
        )
    return bytes(_machine().emit_object(module))


def _numba_type(numba: Any, kind: Kind) -> Any:
    name, n_dimensions, is_contiguous, is_aligned = kind
    scalar = numba.from_dtype(np.dtype(name))
    if not n_dimensions:
        return scalar
    return numba.types.Array(
        scalar, n_dimensions, "C" if is_contiguous else "A", aligned=is_aligned
    )


def _machine() -> Any:
    """This host's, as Numba has it."""
    import llvmlite.binding as llvm

    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static" if target.triple.startswith("x86_64") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def _read(path: Path) -> bytes | None:
    """The object file, or None if there is none, or one that is not as it was written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _write(path: Path, code: bytes) -> None:
    """In one step: other processes may write the same."""
    new = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    new.write_bytes(hashlib.sha256(code).digest() + code)
    new.replace(path)
