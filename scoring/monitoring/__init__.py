"""Watches a model after it went live: what moved in its data, and whether it is still right."""
