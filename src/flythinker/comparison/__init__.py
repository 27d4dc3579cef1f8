"""Comparing methods over seeds: what to run, running it step by step, and the report."""
