"""One file for each kind of storage. Each defines `BACKEND`."""
