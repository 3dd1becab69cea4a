"""The report of an evaluation: one HTML file for people."""
