"""Imports Arrow with the settings of workers, as a command does before it forks."""

from nightscore.engine.executor import environment_of_workers

with environment_of_workers():
    import pyarrow.parquet  # noqa: F401
