"""Errors, files, processes, environment and seeds: knows nothing of label maps or videos."""
