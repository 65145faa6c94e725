"""`make bench BENCH=engine`: nightscore against other ways of scoring the same files, and the possible."""
