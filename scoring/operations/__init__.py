"""What people ask for: a verb of the command line is one module."""
