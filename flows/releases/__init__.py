"""Flows that make model versions live and take them back, with forms in the Prefect UI."""
