"""Training of first frame, motion and segmenter on Lightning; ``run`` starts it."""
