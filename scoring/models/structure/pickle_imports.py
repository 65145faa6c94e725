"""What a pickle says it imports, read without unpickling it."""

import pickletools
from pathlib import Path

MAX_GLOBALS = 200
MAX_OPCODES = 5_000_000
"""Reading so many takes some ten seconds."""
_GLOBALS = ("GLOBAL", "INST")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")


def pickled_names(path: Path) -> tuple[str, ...]:
    """What a pickle says it imports. A crafted one may hide more, so this decides nothing.

    It is read opcode by opcode, which takes seconds for a large one: for people, never for a run.
    """
    if path.is_dir():
        return ()

    reader = _ImportReader()
    try:
        with path.open("rb") as file:
            for n_read, (opcode, argument, _) in enumerate(pickletools.genops(file)):
                reader.read(opcode.name, argument)
                if len(reader.names) >= MAX_GLOBALS:
                    break
                if n_read >= MAX_OPCODES:
                    reader.names["(not read to its end)"] = None
                    break
    except Exception:  # noqa: BLE001 (no pickle, or one that is made to break such readers)
        reader.names["(not readable to its end)"] = None

    return tuple(sorted(reader.names))


class _ImportReader:
    """Follows the strings of a pickle as far as they name modules and attributes."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self._memo: dict[int, str] = {}
        self._last: str | None = None
        """The string on top of the stack, if the last opcode left one."""
        self._strings = ("", "")
        """The last two strings: a module and an attribute, when an opcode joins them."""

    def read(self, opcode: str, argument: object) -> None:
        """Take one opcode."""
        if opcode in _GLOBALS:
            self.names[str(argument).replace(" ", ".")] = None
        elif opcode == "STACK_GLOBAL":
            self.names[".".join(self._strings)] = None
        elif opcode == "MEMOIZE":
            self._memo[len(self._memo)] = self._last or ""
            return  # it leaves the stack as it is
        elif opcode in _PUTS:
            self._memo[int(str(argument))] = self._last or ""

        text = self._memo.get(int(str(argument))) if opcode in _GETS else argument
        self._last = text if isinstance(text, str) else None

        if self._last and opcode not in _GLOBALS:
            self._strings = (self._strings[1], self._last)
