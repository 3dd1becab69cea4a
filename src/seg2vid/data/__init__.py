"""Where clips come from: every dataset yields the same ``Clip``."""
