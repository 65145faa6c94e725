"""What data looks like: frozen records, no input or output."""
