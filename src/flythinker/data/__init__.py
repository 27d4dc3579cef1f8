"""Data: examples, their sources, retrieval, prompts and batches."""
