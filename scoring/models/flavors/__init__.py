"""Model flavors, one module each, named as MLflow names the flavor. Each declares `FLAVOR`."""
