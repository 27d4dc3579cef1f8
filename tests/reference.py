"""What transformers' own `generate` writes: the reference for all that writes here."""

from typing import Any

import torch

from flythinker.data.prompt import end_of_turn_id
from flythinker.generation.batch_writer import prompt_batch


def respond(personal, prompts, sampling, **arguments: Any) -> list[str]:
    """A response to each prompt in one batch, drawn by one `torch.manual_seed`."""
    if sampling.fusion_weight is not None:
        arguments["fusion_weight"] = sampling.fusion_weight
    if sampling.temperature > 0:
        arguments |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
        arguments["top_k"] = sampling.top_k
    batch = prompt_batch(personal, prompts)
    torch.manual_seed(sampling.seed)
    written = personal.model.generate(
        **batch,
        do_sample=sampling.temperature > 0,
        max_new_tokens=sampling.max_new_tokens,
        min_new_tokens=sampling.min_new_tokens or None,
        repetition_penalty=sampling.repetition_penalty,
        eos_token_id=end_of_turn_id(personal.tokenizer),
        pad_token_id=personal.tokenizer.pad_token_id,
        **arguments,
    )
    responses = written[:, batch["input_ids"].shape[1] :]
    texts = personal.tokenizer.batch_decode(responses, skip_special_tokens=True)
    return [text.strip() for text in texts]
