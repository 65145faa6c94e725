"""Reads a Dockerfile: its stages and instructions, as far as ours uses the language."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WORDS = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "LABEL", "RUN", "USER", "VOLUME"),
    "WORKDIR",
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. Variables of `ARG` before the first stage are replaced in it."""

    stage: str
    """Name of the stage; empty before the first one, `final` if the last one has none."""
    word: str
    text: str

    @property
    def items(self) -> list[str]:
        """The words of the text, or the list that it is (`ENTRYPOINT`, `CMD`)."""
        if self.text.startswith("["):
            return [str(item) for item in json.loads(self.text)]
        return shlex.split(self.text)

    @property
    def pairs(self) -> dict[str, str]:
        """Names and values of `ENV`, `LABEL` or `ARG`."""
        return dict(item.split("=", 1) for item in self.items)


def read_dockerfile(path: Path) -> list[Instruction]:
    """All instructions in their order."""
    stage, variables, instructions = "", dict[str, str](), list[Instruction]()

    for line in _logical_lines(path.read_text()):
        word, _, text = line.partition(" ")
        if word not in WORDS:
            raise ValueError(f"{path}: an instruction that this reader does not know: {line}")

        text = re.sub(r"\$\{(\w+)\}", lambda match: variables.get(match[1], match[0]), text.strip())
        if word == "ARG" and not stage:
            name, _, default = text.partition("=")
            variables[name] = default
        if word == "FROM":
            _, is_named, name = text.partition(" AS ")
            stage = name if is_named else "final"
        instructions.append(Instruction(stage, word, text))

    return instructions


def _logical_lines(text: str) -> Iterator[str]:
    """Lines without comments, with continued ones joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return (line.strip() for line in joined.splitlines() if line.strip())
