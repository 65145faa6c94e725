"""Receives the webhooks of MLflow's model registry, and says which jobs they concern."""
