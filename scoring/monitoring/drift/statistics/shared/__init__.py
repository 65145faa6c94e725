"""What drift statistics share: their declaration, the columns they compare, their arithmetic."""
