"""What a training will take, told from its config alone: memory, arithmetic, what to change."""
