"""What transformers' own `generate` writes: the reference for all that writes here."""

from collections import Counter
from itertools import takewhile
from typing import Any

import torch
from transformers import LogitsProcessorList

from flythinker.data.prompt import end_of_turn_id
from flythinker.generation.batch_writer import prompt_batch


def respond(personal, prompts, sampling, **arguments: Any) -> list[str]:
    """A response to each prompt in one batch, drawn by one `torch.manual_seed`."""
    if sampling.fusion_weight is not None:
        arguments["fusion_weight"] = sampling.fusion_weight
    if sampling.temperature > 0:
        arguments |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
        arguments["top_k"] = sampling.top_k
        arguments["min_p"] = sampling.min_p or None
    if sampling.logit_bias:
        arguments["sequence_bias"] = {(token,): bias for token, bias in sampling.logit_bias}
    if sampling.presence_penalty or sampling.frequency_penalty:
        arguments["logits_processor"] = LogitsProcessorList([_count_penalties(sampling, prompts)])
    ends = sampling.ends(end_of_turn_id(personal.tokenizer))
    batch = prompt_batch(personal, prompts)
    torch.manual_seed(sampling.seed)
    written = personal.model.generate(
        **batch,
        do_sample=sampling.temperature > 0,
        max_new_tokens=sampling.max_new_tokens,
        min_new_tokens=sampling.min_new_tokens or None,
        repetition_penalty=sampling.repetition_penalty,
        eos_token_id=ends or [-1],  # which is no token
        pad_token_id=personal.tokenizer.pad_token_id,
        **arguments,
    )
    responses = written[:, batch["input_ids"].shape[1] :].tolist()
    kept = [list(takewhile(lambda token: token not in ends, response)) for response in responses]
    texts = personal.tokenizer.batch_decode(kept, skip_special_tokens=True)
    return [text.strip() for text in texts]


def _count_penalties(sampling, prompts):
    """OpenAI's presence and frequency penalties of one prompt's text, token by token."""
    (prompt,) = prompts

    def lower(input_ids, scores):
        scores = scores.clone()
        for token, times in Counter(input_ids[0, len(prompt.prompt_ids) :].tolist()).items():
            scores[0, token] -= times * sampling.frequency_penalty + sampling.presence_penalty
        return scores

    return lower
