"""All services of nightscore on this machine, to try it out and to develop: `make up`."""
