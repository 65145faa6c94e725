"""What moved: comparisons of profiles, over time and with the model's baseline."""
