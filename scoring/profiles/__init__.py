"""What the values of a column were: counted once, while they are scored."""
