"""Keys, values and prompts of the texts that are being written."""
