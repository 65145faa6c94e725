"""`make bench BENCH=bars`: the nine bars of speed, each *met* or *missed* with its figures."""
