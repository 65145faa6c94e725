"""Batch scoring with pinned models: plan, score, publish. Runs without Prefect."""

if __name__ == "scoring":  # a second copy of each module, whose classes are others
    raise ImportError(
        "the package's import name is nightscore, not scoring: `from nightscore.run import run`"
    )
