"""Records of runs as they would be published, for tests of what reads them."""

from datetime import UTC, datetime
from typing import Any

from nightscore.schemas.manifest import Manifest


def published_run(**values: Any) -> Manifest:
    """A published run of one partition; `values` are fields that a test is about."""
    usual: dict[str, Any] = {
        "run_id": "01a2",
        "status": "published",
        "job": "delay",
        "partition_key": "ds",
        "partition": "2024-03-02",
        "started_at": datetime(2024, 3, 3, tzinfo=UTC),
        "host": "h",
        "pid": 1,
        "engine": "0",
        "model": {"uri": "models:/m@champion", "name": "m", "version": "3"},
        "inputs": {"uri": "s3://lake/features"},
        "output": {"uri": "s3://lake/predictions", "format": "delta"},
    }
    return Manifest(**usual | values)
