"""A whole nightscore on this machine, for trying out and developing: `make up`, `make down`."""
