"""Who labels real video and measures its motion."""
