"""The bundled models, one safetensors file each, with a model card beside it."""
