"""The evaluation kit: protocols, what is judged, how, and the report; ``evaluate.py`` runs it."""
