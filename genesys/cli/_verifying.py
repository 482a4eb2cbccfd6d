"""The display of one verification under way: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from genesys.verification import VerificationProgress

PLAIN_EVERY_S = 15.0


@contextmanager
def verification_display(console: Console, *, n_tokens: int) -> Iterator[Callable[[VerificationProgress], None]]:
    """Give what draws a `VerificationProgress`, while the block runs.

    Args:
        n_tokens: Of the whole training; 0 if that is not known.
    """
    if not console.is_terminal:
        yield _Lines(console, n_tokens).show
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[said]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("", total=n_tokens or None, said="")

        def show(seen: VerificationProgress) -> None:
            progress.update(task, description=seen.stage, completed=seen.n_tokens, said=describe(seen, n_tokens))

        yield show


class _Lines:
    """Says a new stage at once, and within a stage how far it is every now and then."""

    def __init__(self, console: Console, n_tokens: int) -> None:
        self._console, self._n_tokens = console, n_tokens
        self._stage, self._said_at = "", float("-inf")

    def show(self, seen: VerificationProgress) -> None:
        now = time.monotonic()
        if seen.stage != self._stage or (seen.n_tokens and now - self._said_at >= PLAIN_EVERY_S):
            self._stage, self._said_at = seen.stage, now
            said = describe(seen, self._n_tokens)
            self._console.print(f"{seen.stage}: {said}" if said else seen.stage, highlight=False)


def describe(seen: VerificationProgress, n_tokens: int) -> str:
    """The training's figures in a phrase; "" outside the training."""
    if seen.stage != "train" or seen.loss_nats is None:
        return ""
    share = f"/{n_tokens:,}" if n_tokens else ""
    return f"{seen.n_tokens:,}{share} tokens, loss {seen.loss_nats:.3f}, {seen.tokens_per_s:,.0f} tokens/s"
