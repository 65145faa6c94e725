"""From a model URI to a loaded, verified predictor."""
