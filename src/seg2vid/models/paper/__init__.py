"""The paper's own networks, layer by layer: the preset ``paper``."""
