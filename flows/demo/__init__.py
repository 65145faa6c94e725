"""Two weeks of New York flights, from data to published predictions: `make demo`."""
