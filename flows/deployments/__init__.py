"""Makes Prefect run jobs every night: what its server should have, and what that changes."""
