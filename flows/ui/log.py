"""Forwards the engine's log to the log of the Prefect run that it works for."""

import logging

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from nightscore.schemas.text import printable


class _RunLogHandler(logging.Handler):
    """Passes the engine's records to the logger of the run whose context they come from."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            logger = get_run_logger()
        except MissingContextError:
            return
        logger.log(record.levelno, "%s", printable(record.getMessage()))


def forward_engine_log() -> None:
    """Make the engine's log part of the run's log from now on. A second call changes nothing."""
    logger = logging.getLogger("nightscore")
    if any(isinstance(handler, _RunLogHandler) for handler in logger.handlers):
        return

    logger.addHandler(_RunLogHandler())
    logger.setLevel(logging.INFO)
    logger.propagate = False
