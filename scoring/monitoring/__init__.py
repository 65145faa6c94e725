"""What the data looked like, and how that differs from what it looked like before."""
