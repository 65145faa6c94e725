"""Kinds of models, by their MLflow flavor."""
