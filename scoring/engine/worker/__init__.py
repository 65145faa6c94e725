"""What runs in a worker process: a shard on its way from input files to a part."""
