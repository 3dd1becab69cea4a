"""The evaluation kit: protocols, candidates, measuring, figures, report; ``run`` does it."""
