"""What is needed beside pyarrow."""
