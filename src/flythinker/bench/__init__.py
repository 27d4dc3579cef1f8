"""What things cost: every figure a ratio against the plain alternative in the same run."""
