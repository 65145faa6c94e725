"""Native parsers of bytes that nobody has vouched for, in a process that may die of them."""
