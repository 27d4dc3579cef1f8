"""Learning users in the background: who is next, and the process that learns one of them."""
