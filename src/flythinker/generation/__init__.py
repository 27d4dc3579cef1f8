"""Decoding: one text as it streams, and a whole data file."""
