"""Batch scoring with pinned models: plan, score, publish. Runs without Prefect."""
