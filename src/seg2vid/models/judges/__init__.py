"""Frozen networks with published weights: they judge pictures and motion, and are never saved."""
