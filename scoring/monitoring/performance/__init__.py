"""Whether a model is still right: what is estimated before labels come, and what came true."""
