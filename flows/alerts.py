"""`make alerts`: the blocks of the channels whose address is set, and the automations of deploy/automations."""

import asyncio
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

AUTOMATIONS = Path(__file__).resolve().parent.parent / "deploy" / "automations"


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to be told."""

    variable: str
    """Of the environment: the address, which is a secret and stays in the block."""
    block: str
    """Name of the block; an automation's `block_document_id` names it so."""

    def make(self, address: str) -> Block:
        """The block of an address.

        Raises:
            ValueError: It is none; the message does not repeat it.
        """
        if self.block == "nightscore-webhook":
            if not address.startswith(("http://", "https://")):
                raise ValueError(f"{self.variable} is no URL; it begins with http:// or https://")
            return Webhook(
                url=SecretStr(address), headers=SecretDict({"Content-Type": "application/json"})
            )
        if self.block == "nightscore-email":
            # Apprise would send HTML, and the lines of a text would run together.
            address += (
                "" if "format=" in address else ("&" if "?" in address else "?") + "format=text"
            )
        if not Apprise().add(address):
            raise ValueError(
                f"{self.variable} is no address that Apprise knows: https://appriseit.com/services/"
            )
        # Prefect's server has no block for SMTP, but hands what is no Slack address to Apprise as it stands.
        return SlackWebhook(url=SecretStr(address))


CHANNELS = (
    Channel("NIGHTSCORE_ALERT_WEBHOOK", "nightscore-webhook"),
    Channel("NIGHTSCORE_ALERT_SLACK", "nightscore-slack"),
    Channel("NIGHTSCORE_ALERT_EMAIL", "nightscore-email"),
)


async def register(environment: Mapping[str, str], folder: Path = AUTOMATIONS) -> dict[str, str]:
    """Create or update the blocks and automations; doing it again changes nothing.

    An automation whose block has no address is left as it is, or out.

    Args:
        environment: Has the addresses.
        folder: With the automations.

    Returns:
        What became of each automation, by its file's name.
    """
    done = {}
    async with get_client() as client:
        blocks = {
            c.block: await _save(c, environment[c.variable])
            for c in CHANNELS
            if environment.get(c.variable)
        }
        for path in sorted(folder.glob("*.yaml")):
            raw = yaml.safe_load(path.read_text())
            missing = [
                c.variable for c in CHANNELS if c.block in _named(raw) and c.block not in blocks
            ]
            done[path.name] = (
                f"left out, {missing[0]} is not set" if missing else await _put(client, raw, blocks)
            )
    return done


async def _save(channel: Channel, address: str) -> str:
    return str(await channel.make(address).asave(channel.block, overwrite=True))


def _named(raw: dict[str, Any]) -> list[str]:
    return [
        action["block_document_id"] for action in raw["actions"] if "block_document_id" in action
    ]


async def _put(client: PrefectClient, raw: dict[str, Any], blocks: Mapping[str, str]) -> str:
    for action in raw["actions"]:
        if (name := action.get("block_document_id")) in blocks:
            action["block_document_id"] = blocks[name]
    automation = AutomationCore.model_validate(raw)
    standing = await client.read_automations_by_name(automation.name)
    if not standing:
        await client.create_automation(automation)
        return "created"
    await client.update_automation(standing[0].id, automation)
    for double in standing[1:]:
        await client.delete_automation(double.id)
    return "updated"


def main() -> None:
    """Register, and say what was done."""
    url = PREFECT_API_URL.value()
    if not url:
        sys.exit("PREFECT_API_URL is not set: which Prefect server shall send the alerts?")
    if not AUTOMATIONS.is_dir():
        sys.exit(f"{AUTOMATIONS} is not there: run this from a checkout of nightscore")
    try:
        done = asyncio.run(register(os.environ))
    except ValueError as error:
        sys.exit(str(error))
    except (PrefectException, HTTPError, OSError) as error:
        sys.exit(f"{url}: {type(error).__name__}: {error}")
    for name, what in done.items():
        print(f"{name:<22} {what}")


if __name__ == "__main__":
    main()
