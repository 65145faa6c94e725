"""`python -m nightscore.cli`."""

from nightscore.cli import main

main()
