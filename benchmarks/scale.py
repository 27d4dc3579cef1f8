"""Serving at scale: a plan for H100s, and the simulator behind it against a measured `Writer`.

python benchmarks/scale.py check   # measure this machine, then serve Poisson arrivals, compare
python benchmarks/scale.py plan    # memory, bandwidth and cost on H100s (docs/scale.md)
"""

import argparse
import time
from dataclasses import asdict, replace

import numpy as np
import torch

from flythinker.bench.hardware import PAIRS, Pair
from flythinker.bench.simulate import (
    Load,
    Outcome,
    Request,
    Server,
    poisson_requests,
    simulate,
)
from flythinker.data.prompt import Prompt, PromptConfig
from flythinker.generation.sampling import Sampling
from flythinker.generation.sequence import Sequence
from flythinker.generation.writer import Writer
from flythinker.model import FlyThinkerForCausalLM
from flythinker.model_folder import PersonalModel, load_tokenizer

# what is served here: lengths that a CPU can do
SMALL = Load(0, users=60, profile_tokens=400, query_tokens=40, response_tokens=32)
SLOTS = 8
CACHED = 24
BATCHES = (1, 2, 4, 8)


class Rig:
    """A `Writer` of SmolLM2 with an 8-layer Reasoner, and prompts of random tokens for it."""

    def __init__(self) -> None:
        model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
            "smollm2-135m",
            "smollm2-135m",
            reasoner_layers=8,
            projection="linear",
            dtype=torch.bfloat16,
        )
        personal = PersonalModel(model, load_tokenizer("smollm2-135m"), PromptConfig(), {})
        self.draw = np.random.default_rng(0)
        self.vocabulary = model.config.vocab_size
        self.writer = Writer(personal, SLOTS, draft_tokens=0)
        tokens = SMALL.response_tokens
        self.sampling = Sampling(tokens, temperature=0.8, min_new_tokens=tokens)
        self.profiles = [self.ids(SMALL.profile_tokens) for _ in range(SMALL.users)]
        self.writer.write([self.prompt(0)], self.sampling)  # torch's first calls are slow
        self.room_for(CACHED)

    def ids(self, n: int) -> list[int]:
        """Random tokens."""
        return self.draw.integers(10, self.vocabulary, n).tolist()

    def prompt(self, user: int) -> Prompt:
        """The user's profile and a new query."""
        return Prompt(self.profiles[user] + self.ids(SMALL.query_tokens), [], ())

    def room_for(self, prompts: int) -> None:
        """Give the prefix cache room for so many prompts, and empty it."""
        prefixes = self.writer.runner.prefixes
        prefixes.max_bytes = prompts * prefixes.n_bytes // (len(prefixes) // 2)
        self.empty()

    def empty(self) -> None:
        """Forget all prompts."""
        prefixes = self.writer.runner.prefixes
        prefixes._prompts.clear()
        prefixes.n_bytes = prefixes.hits = prefixes.misses = 0

    def costs(self, rounds: int = 3) -> Server:
        """Constants, each measured alone: steps by texts in work, prompts by tokens found."""
        writer = self.writer
        reading: dict[int, list[float]] = {}
        for user in range(rounds):
            for found in (0, SMALL.profile_tokens):
                text = writer.submit(self.prompt(user), self.sampling)
                reading.setdefault(found, []).append(self.timed_step())
                text.cancel()
                writer.step()
        decoding = {}
        for texts in BATCHES:
            for user in range(texts):
                writer.submit(self.prompt(user), self.sampling)
            for _ in range(texts):
                writer.step()
            decoding[texts] = np.median([self.timed_step() for _ in range(8 * rounds)])
            while not writer.idle:
                writer.step()
        miss, hit = (float(np.median(reading[found])) for found in (0, SMALL.profile_tokens))
        print({"miss": miss, "hit": hit} | {f"step {n}": float(s) for n, s in decoding.items()})
        steps = np.interp(range(SLOTS + 1), BATCHES, [decoding[n] for n in BATCHES])
        return Server(
            SLOTS,
            CACHED,
            decode=lambda texts, context: float(steps[texts]),
            prefill=lambda new, found: hit if found else miss,
            cached_by_user=False,
        )

    def timed_step(self) -> float:
        """CPU seconds of the next step: other work on the machine does not count."""
        begun = time.process_time()
        self.writer.step()
        return time.process_time() - begun

    def serve(self, requests: list[Request]) -> Outcome:
        """Real requests of a real `Writer`, on a clock that stands still but for its steps."""
        self.empty()
        writer, arriving = self.writer, list(requests)
        asked: dict[int, tuple[Request, Sequence]] = {}
        ttft: dict[int, float] = {}
        now = idle = waited = worked = 0.0
        while arriving or not writer.idle:
            if writer.idle:
                idle += max(0.0, arriving[0].time - now)
                now = max(now, arriving[0].time)
            while arriving and arriving[0].time <= now:
                request = arriving.pop(0)
                asked[len(asked)] = request, writer.submit(self.prompt(request.user), self.sampling)
            working = len(writer.scheduler.running)
            end = now + self.timed_step()
            worked += (end - now) * working
            for number, (request, text) in asked.items():
                if number not in ttft and text.token_ids:
                    ttft[number] = end - request.time
                    waited += now - request.time
            now = end
        begun = requests[0].time
        span = now - begun
        prefixes = writer.runner.prefixes
        seconds = list(ttft.values())
        return Outcome(
            tokens_per_second=sum(len(w.token_ids) for _, w in asked.values()) / span,
            ttft_p50=float(np.quantile(seconds, 0.5)),
            ttft_p95=float(np.quantile(seconds, 0.95)),
            waiting=waited / span,
            working=worked / span,
            hit_rate=prefixes.hits / (prefixes.hits + prefixes.misses),
            busy=1 - (idle - begun) / span,
        )


def check(rates: list[float], seconds: float) -> None:
    """Print measured and simulated figures of the same requests, for each rate."""
    torch.set_num_threads(1)  # so that CPU time is time
    rig = Rig()
    server = rig.costs()
    for rate in rates:
        load = replace(SMALL, rate=rate)
        requests = poisson_requests(load, seconds, seed=int(rate * 100))
        measured, simulated = rig.serve(requests), simulate(server, load, requests)
        print(f"\n{rate} requests/s, {len(requests)} of them")
        for name, value in asdict(measured).items():
            other = asdict(simulated)[name]
            print(f"{name:20} measured {value:8.3f}  simulated {other:8.3f}  {other - value:+.3f}")


DOLLARS_AN_HOUR = 2.5  # of one H100: an assumption
TTFT = 1.0  # seconds that 95 % of first tokens may take


def replicas_for(pair: Pair, load: Load, seconds: float = 200) -> tuple[int, Outcome]:
    """The fewest replicas that keep `TTFT`; a user always goes to the same one."""
    fewest, most = 0, 1
    while not _keeps(pair, load, most, seconds)[0]:
        fewest, most = most, 2 * most
    while most - fewest > 1:
        middle = (fewest + most) // 2
        if _keeps(pair, load, middle, seconds)[0]:
            most = middle
        else:
            fewest = middle
    return most, _keeps(pair, load, most, seconds)[1]


def _keeps(pair: Pair, load: Load, replicas: int, seconds: float) -> tuple[bool, Outcome]:
    share = replace(load, rate=load.rate / replicas, users=max(1, load.users // replicas))
    server = pair.server(share)
    before = poisson_requests(share, 5 * server.cached / share.rate, seed=1)
    requests = poisson_requests(share, max(seconds, 60 / share.rate))
    outcome = simulate(server, share, requests, before)
    return outcome.ttft_p95 <= TTFT, outcome


def plan() -> None:
    """Print the tables of docs/scale.md."""
    print("| | GPUs | weights, GB | a token, kB | a profile, MB | texts + profiles in memory |")
    print("|---|---|---|---|---|---|")
    for pair in PAIRS:
        load = Load(1, 1)
        server = pair.server(load)
        print(
            f"| {pair.name} | {pair.gpus} | {2 * pair.parameters / 1e9:.0f} |"
            f" {pair.token_bytes / 1e3:.0f} | {load.profile_tokens * pair.token_bytes / 1e6:.0f} |"
            f" {server.slots} + {server.cached:,} |"
        )
    print("\n| milliseconds | a step of 16 texts | a prompt | its query alone |")
    print("|---|---|---|---|")
    for pair in PAIRS:
        step, prompt = pair.decode_seconds(16, 16 * 1850), pair.prefill_seconds(1550)
        query = pair.prefill_seconds(300, 1250)
        print(f"| {pair.name} | {1e3 * step:.1f} | {1e3 * prompt:.0f} | {1e3 * query:.0f} |")
    print("\n| users | requests/s | | GPUs | found in the cache | $ a 1,000 requests |")
    print("|---|---|---|---|---|---|")
    for users, rate in ((10_000, 1), (10_000, 10), (1_000_000, 10), (1_000_000, 100)):
        for pair in PAIRS:
            replicas, outcome = replicas_for(pair, Load(rate, users))
            gpus = replicas * pair.gpus
            dollars = gpus * DOLLARS_AN_HOUR / (rate * 3.6)
            print(
                f"| {users:,} | {rate} | {pair.name} | {gpus} | {100 * outcome.hit_rate:.0f} % |"
                f" {dollars:.2f} |"
            )


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check")
    checking.add_argument("--rates", type=float, nargs="+", default=[0.3, 0.6, 0.9])
    checking.add_argument("--seconds", type=float, default=60)
    commands.add_parser("plan")
    arguments = parser.parse_args()
    if arguments.command == "plan":
        plan()
    else:
        check(arguments.rates, arguments.seconds)


if __name__ == "__main__":
    main()
