"""What metrics are to be expected before labels come, from stored profiles alone."""
