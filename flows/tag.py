"""The tag of our deployments and runs. It imports nothing, as `nightscore alerts` needs no flow."""

TAG = "nightscore"
"""By it, automations leave the runs of other teams on the same server alone."""
