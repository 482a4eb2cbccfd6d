"""`genesys data prepare CONFIG`: pack a run's corpus before the run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesys.cli._output import AsJson, make_console, print_json

if TYPE_CHECKING:
    from genesys.train.data.progress import Estimate, PackProgress
    from genesys.train.data.shards import Shards

app = typer.Typer(help="Corpora, before a run.", no_args_is_help=True, rich_markup_mode=None)

_EVERY_S = 5.0


@app.callback()
def _data() -> None:
    """Corpora, before a run."""


@app.command()
def prepare(
    config: Annotated[Path, typer.Argument(help="YAML file of the run.")],
    as_json: AsJson = False,
) -> None:
    """Pack a run's corpus into tokens. Interrupted, it goes on where it was; what is there already is checked."""
    from cluster.packing import prepare_corpus
    from cluster.spawn import cache_folder
    from genesys.config import load_config
    from genesys.train.data.shards import SPLITS, find_shards, load_shards

    run, started = load_config(config), time.monotonic()
    found = find_shards(run.corpus, cache_folder(), run.tokenizer)
    if found is not None:
        shards = load_shards(found.path, verify=True)
    else:
        display = _Display(cache_folder())
        display.say(f"Reading {_name(run.corpus)}, tokenizer {run.tokenizer}")
        try:
            shards = prepare_corpus(run, cache_folder(), on_estimate=display.estimate, on_progress=display.progress)
        except KeyboardInterrupt:
            display.say("Interrupted. The same command goes on from here.")
            raise
    if as_json:
        print_json(_to_json(shards) | {"was_there": found is not None, "seconds": time.monotonic() - started})
        return
    verb = "There, and whole" if found is not None else f"Packed in {_time(time.monotonic() - started)}"
    typer.echo(f"{verb}: {shards.path}")
    typer.echo(f"  {_size(_disk_bytes(shards))} on disk, vocabulary {shards.vocab_size:,}, hash {shards.hash[:16]}")
    for split in SPLITS:
        text = f"{shards.n_documents[split]:>11,} documents {_size(shards.n_bytes[split]):>9} of text"
        typer.echo(f"  {split:5} {shards.n_tokens[split]:>15,} tokens {text}")


class _Display:
    """Says on standard error what a packing will take, and every few seconds how far it is."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._console = folder, make_console(stderr=True)
        self._last = float("-inf")
        self._began: tuple[float, int] | None = None

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)

    def estimate(self, found: Estimate) -> None:
        """Raises `WriteRefused` where the disk is too small."""
        import os
        import shutil

        from genesys.train.data.writing import WriteRefused

        free = shutil.disk_usage(self._folder).free
        if found.disk_bytes is None or found.n_tokens is None or found.process_s is None:
            self.say(
                f"{_parts(found.n_parts)}, {found.bytes_per_token:.1f} bytes a token; how many tokens is not known yet"
            )
            return
        if found.disk_bytes > free:
            raise WriteRefused(
                f"Cannot pack the corpus in {str(self._folder)!r}: it takes about {_size(found.disk_bytes)}; expected at "
                f"most the {_size(free)} that are free. Make room, or set corpus.tokens."
            )
        n = min(found.n_parts, os.cpu_count() or 1)
        self.say(
            f"{_parts(found.n_parts)}, about {found.n_tokens:,} tokens ({found.bytes_per_token:.1f} bytes each), "
            f"{_size(found.disk_bytes)} of the {_size(free)} free on disk; about {_time(found.process_s / n)} with {n} at a time"
        )

    def progress(self, now: PackProgress) -> None:
        clock = time.monotonic()
        if self._began is None:
            self._began = clock, now.n_bytes
            if now.n_done:
                self.say(f"{now.n_done} of {_parts(now.n_parts)} packed already")
            return
        if now.n_done < now.n_parts and clock - self._last < _EVERY_S:
            return
        self._last, (started, before) = clock, self._began
        left = "" if not now.left_s else f", about {_time(now.left_s)} left"
        pace = f"{(now.n_bytes - before) / 1e6 / (clock - started):.1f} MB/s"
        self.say(f"{now.share:4.0%}  {now.n_done} of {_parts(now.n_parts)}, {now.n_tokens:,} tokens, {pace}{left}")


def _to_json(shards: Shards) -> dict[str, Any]:
    return {
        "path": str(shards.path),
        "hash": shards.hash,
        "corpus": shards.corpus,
        "tokenizer": shards.tokenizer_name,
        "vocab_size": shards.vocab_size,
        "disk_bytes": _disk_bytes(shards),
        "n_tokens": shards.n_tokens,
        "n_documents": shards.n_documents,
        "n_bytes": shards.n_bytes,
    }


def _disk_bytes(shards: Shards) -> int:
    return sum((shards.path / name).stat().st_size for name in shards.files)


def _name(corpus: object) -> str:
    return corpus if isinstance(corpus, str) else str(getattr(corpus, "name", corpus))


def _parts(n: int) -> str:
    return "1 part" if n == 1 else f"{n} parts"


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
