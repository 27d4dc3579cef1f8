"""What vLLM calls in each of its processes (entry point `vllm.general_plugins`)."""


def register() -> None:
    """Make vLLM know `model_type: flythinker`; calling it again changes nothing.

    The model is named, not imported: vLLM imports it in the processes that run it.
    """
    from vllm import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP

    import flythinker.model  # noqa: F401  # registers the config with transformers
    from flythinker.vllm_plugin.settings import FlyThinkerSettings

    ModelRegistry.register_model(
        "FlyThinkerForCausalLM", "flythinker.vllm_plugin.model:FlyThinkerForCausalLM"
    )
    MODELS_CONFIG_MAP["FlyThinkerForCausalLM"] = FlyThinkerSettings
