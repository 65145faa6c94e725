"""Registers the channels of alerts whose address is set, and the automations that are shipped."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from apprise import Apprise
from httpx import HTTPError
from prefect.blocks.core import Block
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient, get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL
from prefect.types import SecretDict
from pydantic import SecretStr

from nightscore.deploy import AUTOMATIONS
from nightscore.errors import DeploymentError, InvalidJobError


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to receive alerts."""

    variable: str
    """Environment variable with the address. The address is a secret, and stays in the block."""
    block: str
    """Name of the block, as an automation's `block_document_id` gives it."""

    def make(self, address: str) -> Block:
        """The block of an address.

        Raises:
            InvalidJobError: The address is not valid. The message does not repeat it.
        """
        if self.block == "nightscore-webhook":
            return self._webhook(address)

        if self.block == "nightscore-email":
            address = _as_text(address)

        if not Apprise().add(address):
            raise InvalidJobError(
                f"{self.variable} is not an address that Apprise knows; nothing was registered.",
                next_step="write it as https://appriseit.com/services/ shows",
            )

        # Prefect has no block for SMTP, but passes any address that is not Slack's to Apprise.
        return SlackWebhook(url=SecretStr(address))

    def _webhook(self, address: str) -> Block:
        if not address.startswith(("http://", "https://")):
            raise InvalidJobError(
                f"{self.variable} is not a URL; nothing was registered.",
                expected="http://... or https://...",
                next_step=f"correct {self.variable}",
            )
        headers = SecretDict({"Content-Type": "application/json"})
        return Webhook(url=SecretStr(address), headers=headers)


def _as_text(address: str) -> str:
    """The address, asking for plain text: in HTML the lines of a message would run together."""
    if "format=" in address:
        return address
    separator = "&" if "?" in address else "?"
    return f"{address}{separator}format=text"


CHANNELS = (
    Channel("NIGHTSCORE_ALERT_WEBHOOK", "nightscore-webhook"),
    Channel("NIGHTSCORE_ALERT_SLACK", "nightscore-slack"),
    Channel("NIGHTSCORE_ALERT_EMAIL", "nightscore-email"),
)


async def register(environment: Mapping[str, str], folder: Path = AUTOMATIONS) -> dict[str, str]:
    """Create or update the blocks and automations. Running it again changes nothing.

    An automation is skipped if a channel of it has no address; if it exists, it stays as it is.

    Args:
        environment: Environment variables with the addresses.
        folder: Folder of the automations.

    Returns:
        What happened to each automation, by file name.

    Raises:
        DeploymentError: The server is not named, does not answer, or refuses.
        InvalidJobError: An address is not valid.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise DeploymentError(
            "PREFECT_API_URL is not set; nothing was registered.",
            expected="the API of the Prefect server that sends the alerts",
            next_step="export PREFECT_API_URL=http://127.0.0.1:4200/api",
        )

    try:
        return await _register(environment, folder)
    except (PrefectException, HTTPError, OSError) as error:
        raise DeploymentError(
            "The Prefect server does not answer, or refuses; nothing was registered.",
            url,
            found=f"{type(error).__name__}: {error}",
            next_step="check PREFECT_API_URL and the server",
        ) from error


async def _register(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    results = {}
    async with get_client() as client:
        blocks = await _save_blocks(environment)

        for path in sorted(folder.glob("*.yaml")):
            raw = yaml.safe_load(path.read_text())
            missing = _missing_variables(raw, blocks)

            if missing:
                results[path.name] = f"skipped, {missing[0]} is not set"
            else:
                results[path.name] = await _save_automation(client, raw, blocks)

    return results


async def _save_blocks(environment: Mapping[str, str]) -> dict[str, str]:
    """Block name to document id, of the channels that have an address."""
    ids = {}
    for channel in CHANNELS:
        address = environment.get(channel.variable)
        if address:
            block = channel.make(address)
            ids[channel.block] = str(await block.asave(channel.block, overwrite=True))
    return ids


def _missing_variables(raw: dict[str, Any], blocks: Mapping[str, str]) -> list[str]:
    """Variables of the channels that an automation needs and that have no address."""
    needed = {action.get("block_document_id") for action in raw["actions"]}
    return [
        channel.variable
        for channel in CHANNELS
        if channel.block in needed and channel.block not in blocks
    ]


async def _save_automation(
    client: PrefectClient, raw: dict[str, Any], blocks: Mapping[str, str]
) -> str:
    for action in raw["actions"]:
        name = action.get("block_document_id")
        if name in blocks:
            action["block_document_id"] = blocks[name]

    automation = AutomationCore.model_validate(raw)

    existing = await client.read_automations_by_name(automation.name)
    if not existing:
        await client.create_automation(automation)
        return "created"

    await client.update_automation(existing[0].id, automation)

    for duplicate in existing[1:]:
        await client.delete_automation(duplicate.id)

    return "updated"


def main() -> None:
    """Run `nightscore alerts`, which this was before."""
    sys.stderr.write(
        "`python -m nightscore.flows.alerts` is called `nightscore alerts` now; "
        "this name goes away in the next release.\n"
    )
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "nightscore.cli", "alerts"])  # noqa: S606


if __name__ == "__main__":
    main()
