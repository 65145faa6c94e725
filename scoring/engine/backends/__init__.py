"""Who scores shards: one module a backend, each with a function `open_pool`."""
