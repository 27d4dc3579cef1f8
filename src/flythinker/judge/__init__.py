"""A language model says which text is closer to the user's own."""
