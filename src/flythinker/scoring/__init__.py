"""Scores of models and texts: held-out loss, metrics against a reference, what chance may do."""
