"""The compared methods: how each prompts, what it trains, how it writes (design §3)."""
