"""When and how often: thin Prefect flows over scoring."""

if __name__ == "flows":
    raise ImportError(
        "the package's import name is nightscore.flows, not flows: `python -m nightscore.flows.alerts`"
    )
