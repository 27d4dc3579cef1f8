"""The OpenAI protocol and the routes of users and documents: all that knows HTTP."""
