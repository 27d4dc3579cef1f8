"""The model: Generator, Reasoner and the thoughts between them; imports nothing else of ours."""
