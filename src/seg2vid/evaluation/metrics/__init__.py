"""Pure functions that compare generated with real frames."""
