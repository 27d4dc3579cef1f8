"""Backbones that come as Python packages, without a network."""
