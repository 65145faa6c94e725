"""From a job's input to shards and batches."""
