"""The `gateway` command: its sub-commands, imported only when called, and how their errors are shown.

Exit codes: 0 done (an abstention is an answer), 1 a check failed or something broke, 2 wrong usage or settings,
3 the server could not be reached in time, 4 the server refused the request.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from gateway.errors import BundleInvalid, ConfigInvalid, DeviceUnavailable, DocumentInvalid, GatewayError

# Name -> where its command is, and its line in the help. Stated here, so that `gateway --help` imports none of them.
COMMANDS = {
    "serve": ("gateway.cli.serve:serve", "Answer questions over gRPC."),
    "ask": ("gateway.cli.ask:ask", "Ask a running gateway one question."),
    "top": ("gateway.cli.top:top", "Watch what a running gateway does."),
    "explain": ("gateway.cli.explain:explain_", "Answer one question here, and say why it comes out so."),
    "knowledge": ("gateway.cli.knowledge:knowledge", "Fill and read the stored collections of a gateway."),
    "feedback": ("gateway.cli.feedback:feedback", "Say whether answers were right."),
    "audit": ("gateway.cli.audit:audit", "Read and verify the log of what was answered."),
    "replay": ("gateway.cli.replay:replay", "See what another policy or bundle would have answered."),
    "harvest": ("gateway.cli.harvest:harvest_", "Make training questions of the audit log, for review."),
    "swap": ("gateway.cli.swap:swap", "Give a running gateway another bundle."),
    "reload": ("gateway.cli.reload:reload", "Let a running gateway read its settings again."),
    "models": ("gateway.cli.models:models", "Compare versions of bundles, and say which one serves."),
    "drift": ("gateway.cli.drift:drift", "See whether questions have changed since the certificate was made."),
    "keys": ("gateway.cli.keys:keys", "Say who may call a gateway, by API key or certificate."),
    "config": ("gateway.cli.settings:config", "Show, check and describe the settings."),
    "doctor": ("gateway.cli.doctor:doctor", "Check this machine and its files before serving."),
    "certify": ("gateway.cli.certify:certify", "Give a bundle its certificate anew."),
    "evaluate": ("gateway.cli.evaluate:evaluate", "Measure a bundle and compare the policies."),
    "compare": ("gateway.cli.compare:compare", "Compare confidences on questions that fitted nothing."),
    "loadtest": ("gateway.cli.loadtest:loadtest", "Load a server, and find what it can do (in a checkout)."),
    "forge": ("gateway.cli.forge:forge", "Make a bundle from a recipe."),
    "completion": ("gateway.cli.completion:completion", "Print the completion script of a shell."),
}
TRAINING = ("huggingface_hub", "onnx", "safetensors", "torch", "transformers")
"""Modules that only the [train] extra brings; commands import some of them only on the way."""
COMPARING = ("matplotlib", "scipy")
"""Modules that the [compare] extra brings, and [train] partly."""
SETTINGS_ERRORS = (ConfigInvalid, BundleInvalid, DeviceUnavailable, DocumentInvalid)


class Failure(click.ClickException):
    """An error that is shown in one line."""

    exit_code = 1


class WrongSettings(Failure):
    """A setting, or a file that a setting names."""

    exit_code = 2


class NotReached(Failure):
    """No answer in time, or nobody there."""

    exit_code = 3


class Refused(Failure):
    """The server answered with an error."""

    exit_code = 4


class LazyGroup(click.Group):
    """click's group, with sub-commands that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            if isinstance(error, SETTINGS_ERRORS):
                raise WrongSettings(str(error)) from None
            if isinstance(error, GatewayError):
                raise Failure(str(error)) from None
            if isinstance(error, ModuleNotFoundError) and (hint := _how_to_install(error.name or "")):
                raise Failure(hint) from None
            if isinstance(error, OSError) and error.filename is not None and error.strerror:
                raise Failure(f"{error.filename}: {error.strerror}") from None
            raise Failure(f"{type(error).__name__}: {error} (gateway --debug shows where)") from None


def _how_to_install(module: str) -> str:
    """Nothing where a module of our own is missing: no package would bring it."""
    package = module.partition(".")[0]
    if package in ("", "gateway"):
        return ""
    if package in TRAINING:
        return (
            f"{module} is not installed: `make train` installs it (several GB), or pip install 'cascade-gateway[train]'"
        )
    if package in COMPARING:
        return f"{module} is not installed: pip install 'cascade-gateway[compare]'"
    return f"{module} is not installed: `make run` installs it, or pip install 'cascade-gateway[cpu]', or [gpu]"


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # as slow as all the rest of --help

        click.echo(f"cascade-gateway {version('cascade-gateway')}")
        ctx.exit()


@click.group(cls=LazyGroup, epilog="Exit codes: 0 done, 1 failed, 2 usage or settings, 3 not reached, 4 refused.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def cli(debug: bool) -> None:
    """Answer from a distilled model where its confidence is certified, from documents elsewhere, or not at all."""


def main() -> None:
    """The console script."""
    # numpy's threads spin for a tenth of a second after every larger product. One of a question's is large enough where
    # a bundle has many labels, and then a core is gone. It is read when numpy is imported, which nothing here does yet.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(cli.main(prog_name="gateway"))
