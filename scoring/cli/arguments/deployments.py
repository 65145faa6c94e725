"""Arguments of the commands that tell a Prefect server what to do."""

from nightscore.cli.options import AsJson


def alerts(as_json: AsJson = False) -> None:
    """Send drift and held runs to Slack, e-mail or a webhook, through Prefect.

    Set the addresses in NIGHTSCORE_ALERT_SLACK, NIGHTSCORE_ALERT_EMAIL and
    NIGHTSCORE_ALERT_WEBHOOK, and the server in PREFECT_API_URL. Calling it again changes nothing.
    """
    from nightscore.cli.commands.alerts import alerts as execute

    execute(as_json)
