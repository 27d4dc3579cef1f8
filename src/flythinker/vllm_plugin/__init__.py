"""The vLLM plugin: `vllm serve DIR` for a FlyThinker folder."""
