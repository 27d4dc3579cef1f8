"""What serving a model costs on H100s, calculated from its config and public figures."""

from dataclasses import dataclass

from flythinker.bench.simulate import Load, Server

# H100 SXM, from NVIDIA's public data sheet; not measured by us
BANDWIDTH = 3.35e12  # bytes a second
FLOPS = 989e12  # bf16, dense
MEMORY = 80e9  # bytes
# assumptions: what of those an engine reaches, what a step costs besides
PCIE = 55e9  # bytes a second from host memory
READING, COMPUTING, STEP_SECONDS, MEMORY_USED = 0.7, 0.45, 0.003, 0.9


@dataclass(frozen=True)
class Part:
    """One of the two models, from its public config."""

    parameters: float
    layers: int
    kv_heads: int
    width: int
    head_dim: int = 128

    @property
    def kv_bytes(self) -> int:
        """Of one token, bf16."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_dim


@dataclass(frozen=True)
class Pair:
    """A Generator, its Reasoner (`None`: SFT) and the GPUs that share them (tensor parallel).

    In a step the two parts are read one after the other; they share the bandwidth, so reading them
    at the same time would not be faster.
    """

    name: str
    generator: Part
    reasoner: Part | None
    gpus: int
    slots: int = 128
    host_bytes: float = 0  # of host memory for users' profiles, a GPU

    @property
    def parts(self) -> list[Part]:
        """One or two."""
        return [part for part in (self.generator, self.reasoner) if part is not None]

    @property
    def parameters(self) -> float:
        """Of both."""
        return sum(part.parameters for part in self.parts)

    @property
    def token_bytes(self) -> int:
        """Keys and values of both, and the thought."""
        thought = 0 if self.reasoner is None else 2 * self.reasoner.width
        return sum(part.kv_bytes for part in self.parts) + thought

    def free_bytes(self) -> float:
        """For caches, beside the weights in bf16."""
        return self.gpus * MEMORY * MEMORY_USED - 2 * self.parameters

    def server(self, load: Load) -> Server:
        """One replica: memory goes to the slots first, and what is left to users' profiles."""
        text = load.profile_tokens + load.query_tokens + load.response_tokens
        slots = min(self.slots, int(self.free_bytes() / (text * self.token_bytes)))
        left = self.free_bytes() - slots * text * self.token_bytes
        return Server(
            slots,
            int((left + self.gpus * self.host_bytes) / (load.profile_tokens * self.token_bytes)),
            self.decode_seconds,
            self.prefill_seconds,
        )

    def decode_seconds(self, texts: int, context: int) -> float:
        """Of a step: weights and caches are read once, or the arithmetic takes longer."""
        read = (2 * self.parameters + context * self.token_bytes) / (BANDWIDTH * READING)
        computed = 2 * self.parameters * texts / (FLOPS * COMPUTING)
        return max(read, computed) / self.gpus + STEP_SECONDS

    def prefill_seconds(self, new: int, found: int = 0) -> float:
        """To read so many new tokens of a prompt, and fetch the rest if they are kept elsewhere."""
        fetched = found * self.token_bytes / PCIE if self.host_bytes else 0.0
        return (2 * self.parameters * new / (FLOPS * COMPUTING) + fetched) / self.gpus


QWEN_1_5B = Part(1.54e9, 28, 2, 1536)
QWEN_7B = Part(7.62e9, 28, 4, 3584)
QWEN_72B = Part(72.7e9, 80, 8, 8192)
PAIRS = (
    Pair("7B alone", QWEN_7B, None, 1),
    Pair("7B + 1.5B", QWEN_7B, QWEN_1_5B, 1),
    Pair("7B + 1.5B, host memory", QWEN_7B, QWEN_1_5B, 1, host_bytes=250e9),
    Pair("72B alone", QWEN_72B, None, 4),
    Pair("72B + 7B", QWEN_72B, QWEN_7B, 4),
    Pair("72B + 7B, host memory", QWEN_72B, QWEN_7B, 4, host_bytes=250e9),
)
