"""When and how often: thin Prefect flows over scoring."""
