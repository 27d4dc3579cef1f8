"""What writes for the server: this process, or an endpoint elsewhere."""
