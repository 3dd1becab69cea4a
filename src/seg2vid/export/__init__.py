"""The networks of a model as graphs for other runtimes, and pipelines that are served by these."""
