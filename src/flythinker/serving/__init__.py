"""A personal-writing server that speaks the OpenAI protocol."""
