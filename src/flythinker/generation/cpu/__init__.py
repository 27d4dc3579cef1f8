"""Layers that write faster on a CPU."""
