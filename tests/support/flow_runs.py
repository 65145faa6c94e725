"""Flows that run in this process, and what they have stored on the server."""

import asyncio
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey


def finish(flow: Any, *args: Any, **named: Any) -> Any:
    """The final state of a flow's run."""

    async def ended() -> Any:
        return await flow(*args, **named, return_state=True)

    return asyncio.run(ended())


def newest_artifact(key: str) -> Any:
    """The artifact of a key that was stored last."""

    async def read() -> Any:
        named = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        async with get_client() as client:
            stored = await client.read_artifacts(artifact_filter=named)
        return max(stored, key=lambda artifact: artifact.created)

    return asyncio.run(read())
