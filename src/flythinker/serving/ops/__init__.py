"""Logs, metrics and processes: what an operator looks at."""
