"""Where files are: a local folder or an object store, and what each of them can do."""
