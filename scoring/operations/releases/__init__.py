"""Makes model versions live, takes them back, and says which one was live when."""
