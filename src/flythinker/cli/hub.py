"""`flythinker push`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command(epilog="Example: flythinker push runs/sotu/flythinker/model me/presidents --private")
def push(
    folder: Annotated[Path, typer.Argument(help="A trained model folder.")],
    repo: Annotated[str, typer.Argument(help="Its name on the Hub: user/model.")],
    license_name: Annotated[
        str | None, typer.Option("--license", help="Default: what its README.md says.")
    ] = None,
    private: Annotated[bool, typer.Option(help="Only for those whom you let in.")] = False,
) -> None:
    """Put a model folder with its card on the Hugging Face Hub (`hf auth login` first)."""
    from huggingface_hub import HfApi

    from flythinker.card import set_license

    set_license(folder, license_name)
    api = HfApi()
    url = api.create_repo(repo, private=private, exist_ok=True)
    api.upload_folder(repo_id=url.repo_id, folder_path=folder, commit_message="Model and card")
    print(url)
