"""What machine code is made for: the best that the processor can run, or what a setting names.

Each variant gives the same bits.
"""

import os
from dataclasses import dataclass
from typing import Any, Literal, get_args

from nightscore.errors import InvalidJobError

Variant = Literal["avx512", "avx2", "scalar"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
"""The best first. `scalar` has no more than any processor of its kind: on x86-64 SSE2."""
SETTING = "NIGHTSCORE_KERNELS"
"""Environment variable that names a variant, for tests and benchmarks."""

_NEEDED = {
    "avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2"),
    "avx2": ("avx2", "popcnt"),
    "scalar": (),
}
"""Features that a processor must have."""
_BEYOND_AVX2 = ("avx512", "avx10", "evex512")
"""Beginnings of the names of later features."""


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor, by LLVM's names."""

    name: str
    features: dict[str, bool]

    @property
    def flags(self) -> str:
        """Its features as LLVM takes them."""
        return ",".join(f"{'+' if has else '-'}{name}" for name, has in self.features.items())


def this_processor() -> Processor:
    """The processor of this host."""
    import llvmlite.binding as llvm

    return Processor(llvm.get_host_cpu_name(), dict(sorted(llvm.get_host_cpu_features().items())))


def runnable_variants(processor: Processor) -> tuple[Variant, ...]:
    """What a processor can run, the best first."""
    runnable = []
    for variant in VARIANTS:
        if all(processor.features.get(feature) for feature in _NEEDED[variant]):
            runnable.append(variant)
    return tuple(runnable)


def named_variant() -> str:
    """What the setting names; empty: nothing, the best is taken."""
    return os.environ.get(SETTING, "")


def choose_variant() -> Variant:
    """The variant that the setting names, else the best that this host can run.

    Raises:
        InvalidJobError: There is no such variant, or this host cannot run it.
    """
    runnable = runnable_variants(this_processor())
    name = named_variant()
    if not name:
        return runnable[0]

    for variant in runnable:
        if variant == name:
            return variant

    raise InvalidJobError(
        "There are no kernels of this kind; nothing was scored.",
        f"environment variable {SETTING}",
        expected=f"{', '.join(runnable)}, which this processor can run",
        found=name,
        next_step="correct or unset it where the worker starts",
    )


def processor_of(variant: Variant) -> Processor:
    """The processor that a variant is compiled for."""
    host = this_processor()
    if variant == "avx512":
        return host
    if variant == "avx2":
        features = {
            name: has and not name.startswith(_BEYOND_AVX2) for name, has in host.features.items()
        }
        return Processor(host.name, features)
    if "sse2" in host.features:
        return Processor("x86-64", {})
    return host


def target_machine(variant: Variant) -> Any:
    """LLVM's description of what a variant is compiled for, with Numba's options."""
    import llvmlite.binding as llvm

    processor = processor_of(variant)
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=processor.name,
        features=processor.flags,
        opt=3,
        reloc="static" if target.triple.startswith("x86_64") else "default",
        codemodel="jitdefault",
        jit=True,
    )
