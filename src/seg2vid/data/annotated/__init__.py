"""Annotated video datasets, generated from label maps."""
