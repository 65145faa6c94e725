"""Registers the channels of alerts whose address is set, and the automations that are shipped."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apprise import Apprise
from prefect.blocks.core import Block
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.types import SecretDict
from pydantic import SecretStr

from nightscore.deploy import AUTOMATIONS
from nightscore.errors import InvalidJobError
from nightscore.flows.deployments.automations import (
    blocks_of,
    read_automations,
    save_automation,
)
from nightscore.flows.deployments.changes import Change, FieldChange
from nightscore.flows.deployments.tags import tag_deployments
from nightscore.flows.prefect_api import prefect_api


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
    """The address, asking for plain text.

    In HTML the lines of an e-mail would run together. For Slack, Apprise would escape a message
    that is escaped already, and so that readers see the escapes.
    """
    if "format=" in address:
        return address
    separator = "&" if "?" in address else "?"
    return f"{address}{separator}format=text"


CHANNELS = (
    Channel("NIGHTSCORE_ALERT_WEBHOOK", "nightscore-webhook"),
    Channel("NIGHTSCORE_ALERT_SLACK", "nightscore-slack"),
    Channel("NIGHTSCORE_ALERT_EMAIL", "nightscore-email"),
)


def register(environment: Mapping[str, str], folder: Path = AUTOMATIONS) -> list[Change]:
    """Create or update the blocks and automations. Running it again changes nothing.

    An automation is skipped if a channel of it has no address; if it exists, it stays as it is.

    Args:
        environment: Environment variables with the addresses.
        folder: Folder of the automations.

    Returns:
        What happened to each block and each automation, and to deployments without our tag.

    Raises:
        DeploymentError: The server is not named, does not answer, or refuses.
        InvalidJobError: An address is not valid.
    """
    made = _make_blocks(environment)
    with prefect_api() as api:
        saved = asyncio.run(_save_blocks(made))
        ids = {change.name: block_id for change, block_id in saved}
        changes = [change for change, _ in saved]
        changes += tag_deployments(api, dry_run=False)

        for raw in read_automations(folder):
            missing = _missing_variables(raw, ids)
            if missing:
                reason = f"{missing[0]} is not set"
                name = raw["name"]
                skipped = Change(kind="automation", name=name, action="skipped", reason=reason)
                changes.append(skipped)
            else:
                changes.append(save_automation(api, raw, ids, dry_run=False))

    return changes


def _make_blocks(environment: Mapping[str, str]) -> dict[str, Block]:
    """The blocks of the channels that have an address, by name."""
    blocks = {}
    for channel in CHANNELS:
        address = environment.get(channel.variable)
        if address:
            blocks[channel.block] = channel.make(address)
    return blocks


async def _save_blocks(blocks: Mapping[str, Block]) -> list[tuple[Change, str]]:
    """What happened to each block, and its document's id."""
    return [await _save_block(name, block) for name, block in blocks.items()]


async def _save_block(name: str, block: Any) -> tuple[Change, str]:
    """Save a block unless the same is there. Addresses are secrets: no change shows one."""
    try:
        existing = await type(block).aload(name)
    except ValueError:  # there is none
        existing = None

    if existing is not None and existing.url == block.url:
        return Change(kind="block", name=name, action="unchanged"), str(existing._block_document_id)

    block_id = await block.asave(name, overwrite=True)
    if existing is None:
        return Change(kind="block", name=name, action="created"), str(block_id)

    fields = (FieldChange("url", "***", "***"),)
    return Change(kind="block", name=name, action="changed", fields=fields), str(block_id)


def _missing_variables(raw: Mapping[str, Any], blocks: Mapping[str, str]) -> list[str]:
    """Variables of the channels that an automation needs and that have no address."""
    needed = blocks_of(raw)
    return [
        channel.variable
        for channel in CHANNELS
        if channel.block in needed and channel.block not in blocks
    ]


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
