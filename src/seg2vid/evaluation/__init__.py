"""The evaluation kit: protocols, what is judged, how, and the report; ``run`` does it."""
