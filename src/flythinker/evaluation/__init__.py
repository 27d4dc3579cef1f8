"""Evaluation: held-out loss, text metrics, significance and the report."""
