"""One run of a partition, from its record's first line to its last."""
