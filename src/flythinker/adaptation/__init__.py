"""What one person's writings change in a model that many share."""
