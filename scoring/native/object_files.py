"""Object files with the machine code of one kernel: how they are compiled, written and read."""

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

from nightscore.native.arguments import ArgumentTypes, numba_type
from nightscore.native.variants import Variant, target_machine

DIGEST_BYTES = 32
"""The SHA-256 of the code, in front of it."""
ALLOWED_CALLS = frozenset(("exp", "expf", "log1p", "log1pf", "memcpy", "memmove", "memset"))
"""C functions that machine code may call. It never calls into Python."""


def compile_object(name: str, types: ArgumentTypes, symbol: str, variant: Variant) -> bytes:
    """Compile a kernel to an object file.

    Args:
        name: A function of `kernels`.
        types: The types of its arguments.
        symbol: The name that the object file defines.
        variant: What it is compiled for.

    Raises:
        RuntimeError: The code calls what machine code must not call.
    """
    import llvmlite.binding as llvm

    from nightscore.native import kernels
    from nightscore.native.compilation import plain_code

    function = getattr(kernels, name)
    signature = tuple(map(numba_type, types))
    with plain_code():
        function.compile(signature)

    module = llvm.parse_assembly(function.inspect_llvm(signature))
    compiled_name = function.overloads[signature].fndesc.llvm_func_name
    module.get_function(compiled_name).name = symbol
    module.verify()

    machine = target_machine(variant)
    _optimize(module, machine)

    declared = {one.name for one in module.functions if one.is_declaration}
    calls = {call for call in declared if not call.startswith("llvm.")}
    if forbidden := sorted(calls - ALLOWED_CALLS):
        raise RuntimeError(
            f"the kernel {name} calls what machine code must not call: {', '.join(forbidden)}"
        )

    return bytes(machine.emit_object(module))


def _optimize(module: Any, machine: Any) -> None:
    """Optimize a module as Numba does, for another machine than this host if need be."""
    import llvmlite.binding as llvm

    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)


def read_object(path: Path) -> bytes | None:
    """The object file, or None: there is none, or it is damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None

    digest, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def write_object(path: Path, code: bytes) -> None:
    """Write an object file in one step: other processes may write the same one."""
    spool = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    spool.write_bytes(hashlib.sha256(code).digest() + code)
    spool.replace(path)
