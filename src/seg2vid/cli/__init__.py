"""The command line: one verb, one function; ``main`` runs them."""
