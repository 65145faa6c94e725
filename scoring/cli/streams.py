"""Makes standard input, output and error safe, whatever the caller has made of them.

They may be closed, on a full disk, a pipe that nobody reads any more, or unable to show a
character. None of that may hide what a command has done: a published partition is published.
"""

import contextlib
import os
import sys
from typing import Any, TextIO

OUTPUT_ERROR_CODE = 1


class GuardedStream:
    """A text stream that keeps the first error of writing to it, and then writes nothing more."""

    def __init__(self, stream: TextIO) -> None:
        """Guard a stream."""
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write the text; an error is kept, not raised."""
        with self._errors_kept():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream; an error is kept, not raised."""
        with self._errors_kept():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Any other attribute of the stream."""
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _errors_kept(self) -> Any:
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            # The stream's buffer is discarded, so that the interpreter's last flush succeeds.
            with contextlib.suppress(OSError):
                sink = os.open(os.devnull, os.O_WRONLY)
                os.dup2(sink, self._stream.fileno())
                os.close(sink)


def guard_streams() -> None:
    """Make the three standard streams safe to use until the process ends."""
    _open_closed_descriptors()
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115, PTH123 (open as long as the process)
    sys.stdout = _guarded(sys.stdout)
    sys.stderr = _guarded(sys.stderr)


def settle_exit_code(code: int, *, changes_data: bool) -> int:
    """The exit code of a command, once its output is written as far as possible.

    Args:
        code: The command's own exit code.
        changes_data: The command changes data. Its exit code then says what it has done, not
            whether that could be printed.
    """
    sys.stdout.flush()
    error = getattr(sys.stdout, "error", None)

    if error is None or isinstance(error, BrokenPipeError):
        return code  # whoever closes a pipe, as `head` does, has read enough

    consequence = "What was printed is incomplete."
    if changes_data:
        consequence = "The command itself was completed."

    sys.stderr.write(f"Standard output could not be written: {error.strerror}. {consequence}\n")
    sys.stderr.flush()

    return code if changes_data or code else OUTPUT_ERROR_CODE


def _guarded(stream: TextIO | None) -> Any:
    if stream is None:
        stream = open(os.devnull, "w")  # noqa: SIM115, PTH123 (open as long as the process)
    if hasattr(stream, "reconfigure"):
        # A name that the terminal's encoding lacks is shown escaped; it must not fail a run.
        stream.reconfigure(errors="backslashreplace")
    return stream if isinstance(stream, GuardedStream) else GuardedStream(stream)


def _open_closed_descriptors() -> None:
    """Occupy 0, 1 and 2: every message would be written into a file that is opened as one."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        os.set_inheritable(descriptor, True)  # worker processes need all three as well
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
