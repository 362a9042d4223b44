"""`nexusctl completion`: the script that makes a shell complete our commands and options."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  nexusctl completion bash > ~/.local/share/bash-completion/completions/nexusctl
    zsh:   nexusctl completion zsh > "${fpath[1]}/_nexusctl"
    fish:  nexusctl completion fish > ~/.config/fish/completions/nexusctl.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # click has one for each of SHELLS
    root = ctx.find_root()
    name = root.info_name or "nexusctl"
    completion = found(root.command, {}, name, f"_{name.upper()}_COMPLETE")
    click.echo(completion.source_template % completion.source_vars())
