"""`genesys serve MODEL`: an open-weight model for the agents, by vLLM."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from genesys.cli._output import make_console


def command(
    model: Annotated[str, typer.Argument(help="A folder, or a name on the hub.")],
    options: Annotated[list[str] | None, typer.Argument(help="Further options of vLLM, after --.")] = None,
    gpus: Annotated[int, typer.Option(help="Cards over which the model is split; 0 for the CPU.")] = 1,
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on; in a Ray cluster, its host's own.")] = "127.0.0.1",
    name: Annotated[str, typer.Option(help="To register it by; the model's last part by default.")] = "",
    python: Annotated[str, typer.Option(help="Interpreter or virtual environment that has vLLM; this one by default.")] = "",
    logs: Annotated[Path, typer.Option(help="Folder of the server's log.")] = Path("runs/serving"),
) -> None:  # fmt: skip
    """Serve an open-weight model until Ctrl-C. It is started again when it dies or hangs; agents find it by its name."""
    from actors.model_server import ModelServerSettings
    from cluster.serving import serve
    from genesys.llm.vllm import ServeSettings

    settings = ServeSettings(model=model, name=name, gpus=gpus, port=port, python=python, options=tuple(options or ()))
    console = make_console()
    say = _Teller(console, settings.served_as)
    console.print(f"Starting {model}; its log is in {logs / settings.served_as}.log", highlight=False, markup=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a job's end is met as Ctrl-C is
    try:
        serve(ModelServerSettings(serve=settings, log_folder=logs.absolute()), host=host, on_change=say)
    except KeyboardInterrupt:
        console.print("Stopped.")


class _Teller:
    """Says what becomes of a server; when it first answers, how to use it."""

    def __init__(self, console: Any, name: str) -> None:
        self._console, self._name, self._told = console, name, False

    def __call__(self, what: str, why: str) -> None:
        if what != "ready":
            self._print(f"{self._name}: {why}; starting it again.")
            return
        self._print(f"{self._name} answers at {why}")
        if not self._told:
            entry = f'{{name: hosted_vllm/{self._name}, api_base: "served:{self._name}", input_usd: 0, output_usd: 0}}'
            self._print(f"In a configuration:\n\nagents:\n  models:\n    default: [{entry}]\n")
        self._told = True

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
