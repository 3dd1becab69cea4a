"""The studio: a page to paint a label map in, and the server that makes it move."""
