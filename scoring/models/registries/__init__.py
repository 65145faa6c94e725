"""Model registries, one module each, and what they share. `registry_catalog.py` opens them."""
