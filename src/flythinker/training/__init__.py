"""Training: one config file, one Trainer."""
