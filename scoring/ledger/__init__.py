"""What is known of a job's runs, and where it lies."""
