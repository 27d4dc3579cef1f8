"""`flythinker adapt`."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from flythinker.cli.options import Model
from flythinker.cli.reading import DayFirst, Senders, Strict, print_problems, reading_of
from flythinker.data.document import Document
from flythinker.errors import FlyThinkerError
from flythinker.serving.settings import DEFAULT_TENANT

if TYPE_CHECKING:
    from flythinker.adaptation.adapt import Outcome

app = typer.Typer()


@app.command(
    epilog="Example: flythinker adapt --model runs/sotu/flythinker/model --user me "
    "--writings my-texts/ --out me.adapter"
)
def adapt(
    model: Model,
    user: Annotated[str, typer.Option(help="Whose writings they are.")],
    out: Annotated[Path, typer.Option(help="File of the adapter.")],
    writings: Annotated[
        Path | None, typer.Option(help="A folder or a file (docs/import.md).")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            envvar="FLYTHINKER_DATABASE", help="Without --writings: the texts stored by a server."
        ),
    ] = None,
    tenant: Annotated[str, typer.Option(help="With --database: whose user.")] = DEFAULT_TENANT,
    part: Annotated[
        Literal["reasoner", "generator"],
        typer.Option(help="What learns: the Reasoner, or for comparison the Generator."),
    ] = "reasoner",
    rank: Annotated[int, typer.Option(help="Of the low-rank changes.", min=1)] = 8,
    epochs: Annotated[int, typer.Option(help="How often each text teaches.", min=1)] = 2,
    learning_rate: Annotated[float, typer.Option(help="Of the changes.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(help="Texts an optimizer step.", min=1)] = 4,
    seed: Annotated[int, typer.Option(help="Of the order and the first numbers.")] = 0,
    strict: Strict = False,
    day_first: DayFirst = None,
    senders: Senders = None,
) -> None:
    """Learn one person into a small file, kept only if it predicts their newest texts better."""
    from flythinker.adaptation.adapt import AdaptSettings
    from flythinker.adaptation.adapt import adapt as learn
    from flythinker.adapter import save_adapter
    from flythinker.data.history import read_history
    from flythinker.model_folder import load_model_folder

    if writings is not None:
        reading = reading_of(strict, day_first, senders)
        documents = read_history(writings, reading)
        print_problems(reading)
    elif database is not None:
        documents = _stored(database, tenant, user)
    else:
        raise typer.BadParameter("say where the texts are: --writings, or a server's --database")
    settings = AdaptSettings(part, rank, epochs, learning_rate, batch_size, seed)
    work = out.with_name(f".{out.name}.work")
    outcome = learn(load_model_folder(model), user, documents, work, settings)
    if outcome.kept:
        save_adapter(out, outcome.adapter)
    shutil.rmtree(work)  # not before: a full disk may refuse the adapter
    _print(outcome, out)


@app.command(
    epilog="Example: flythinker export-adapter me.adapter --out me.lora, then vllm serve "
    "--enable-lora --lora-modules me=me.lora"
)
def export_adapter(
    adapter: Annotated[Path, typer.Argument(help="File that `adapt` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder that vLLM loads.")],
) -> None:
    """Write an adapter as the folder that vLLM's multi-LoRA loads (docs/vllm.md)."""
    from flythinker.adapter import load_adapter, save_for_vllm

    save_for_vllm(out, load_adapter(adapter))


def _stored(database: str, tenant: str, user: str) -> list[Document]:
    """The texts of a user of a server, which may run meanwhile."""
    from flythinker.serving.storage.store import Store

    store = Store.open(database)
    documents = store.history(tenant, user)
    store.close()
    if documents is None:
        raise FlyThinkerError(f"{user}: no such user of tenant '{tenant}' in the database")
    return documents


def _print(outcome: "Outcome", out: Path) -> None:
    about = outcome.adapter.about
    table = Table(show_header=False)
    table.add_row("learned from", f"{about.texts} passages, {about.words} words")
    table.add_row("judged by", f"the newest {about.held_out} passages")
    table.add_row("loss", f"{about.before:.3f} → {about.after:.3f} nats/token")
    table.add_row("difference", f"{about.gain:+.3f} [{about.low:+.3f}, {about.high:+.3f}]")
    table.add_row("time", f"{about.seconds:.0f} s")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    if outcome.kept:
        console.print(f"{out}: {outcome.adapter.bytes / 1e6:.1f} MB; write with --adapter {out}")
        return
    console.print(
        f"Nothing was learned: {outcome.why}, so {out} was not written. More texts help most."
    )
