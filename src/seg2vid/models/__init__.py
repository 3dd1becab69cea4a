"""One file per box of the figure in the README, under the same name."""
