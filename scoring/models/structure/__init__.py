"""What a model's file says, and whether its parts fit together, before its library follows them."""
