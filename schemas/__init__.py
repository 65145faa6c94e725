"""What data looks like: frozen records, no input or output."""

if __name__ == "schemas":
    raise ImportError("the package's import name is nightscore.schemas, not schemas")
