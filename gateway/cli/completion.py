"""`gateway completion`: the script that makes a shell complete the command."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

WHERE = {
    "bash": '~/.bashrc: eval "$(gateway completion bash)"',
    "zsh": '~/.zshrc: eval "$(gateway completion zsh)"',
    "fish": "~/.config/fish/completions/gateway.fish: gateway completion fish | source",
}


@click.command()
@click.argument("shell", type=click.Choice(list(WHERE)))
def completion(shell: str) -> None:
    """Print the completion script of SHELL, to be loaded by its start-up file."""
    from gateway.cli.main import cli  # it imports this file, by name

    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(f"# in {WHERE[shell]}")
    click.echo(complete(cli, {}, "gateway", "_GATEWAY_COMPLETE").source())
