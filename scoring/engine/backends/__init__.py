"""Who scores shards: one module a backend."""
