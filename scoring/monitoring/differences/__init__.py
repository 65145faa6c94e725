"""How a challenger differs from the champion: counts of their differences, summed up."""
