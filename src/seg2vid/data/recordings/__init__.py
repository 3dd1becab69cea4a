"""One adapter for each dataset: what lies where, as recordings that ``prepare`` reads."""
