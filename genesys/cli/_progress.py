"""The display of a running evolution."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from genesys.cli._output import counted

if TYPE_CHECKING:
    from cluster.driver import Snapshot
    from cluster.session import Session
    from genesys.evolution.status import RunStatus

PLAIN_EVERY_S = 15.0


class Display:
    """Draws snapshots: live on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console, self._live = console, live
        self._started = time.monotonic()
        self._last_plain = float("-inf")
        self._spent_before: float | None = None

    def session(self, session: Session) -> None:
        where = "this machine" if session.is_local else f"the cluster of {session.n_hosts} hosts"
        token = f" (its token is in {session.token_file})" if session.token_file else ""
        dashboard = f", dashboard at {session.dashboard_url}{token}" if session.dashboard_url else ""
        self._console.print(f"Ray on {where}{dashboard}")

    def show(self, snapshot: Snapshot) -> None:
        if self._live is not None:
            self._live.update(self._drawing(snapshot))
        elif time.monotonic() - self._last_plain >= PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            self._console.print(self._line(snapshot))

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self._started)
        return f"{seconds // 60}:{seconds % 60:02d}"

    def _best(self, snapshot: Snapshot) -> str:
        status = snapshot.status
        if status.best_fitness is None:
            return "no design rated yet"
        f = status.best_fitness
        return f"best {status.best_name} at {status.best_scale}, fitness {f.value:+.2f} ({f.low:+.2f} to {f.high:+.2f})"

    def _line(self, snapshot: Snapshot) -> str:
        rungs = ", ".join(
            f"{s.name} {s.finished}/{s.quota}" + (f" ({s.failed} failed)" if s.failed else "")
            for s in snapshot.status.scales
        )
        rungs += f"; used {snapshot.status.spending}" if snapshot.status.spending else ""
        n_designs = counted(snapshot.status.n_designs, "design")
        agents = "".join(f"; {told}" for told in agents_line(snapshot))
        return f"{self._elapsed()}  verified {rungs}; {n_designs}{agents}; {self._best(snapshot)}; {self._eta(snapshot.status)}"

    def _drawing(self, snapshot: Snapshot) -> Any:
        status = snapshot.status
        rungs = Table.grid(padding=(0, 2))
        for scale in status.scales:
            done = scale.finished
            detail = f"{done}/{scale.quota} verified" + (f", {scale.failed} failed" if scale.failed else "")
            detail += f", {scale.running} running" if scale.running else ""
            rungs.add_row(scale.name, ProgressBar(total=max(1, scale.quota), completed=done, width=30), detail)
        states = ", ".join(f"{n} {state}" for state, n in status.states.items() if n)
        work = [
            Text(
                f"{name}: {p.stage} {p.design} at {p.scale}, {p.n_tokens:,} tokens, loss {p.loss_nats:.3f}, {p.tokens_per_s:,.0f} tokens/s"
            )
            for name, p in snapshot.verifiers.items()
            if p.design
        ]
        head = Text(
            f"{self._elapsed()}  designs: {states or 'none'}; {self._eta(status)}; {status.spending}".rstrip("; ")
        )
        agents = "; ".join(agents_line(snapshot))
        return Group(head, rungs, *([Text(agents)] if agents else []), Text(self._best(snapshot)), *work)

    def _eta(self, status: RunStatus) -> str:
        """Time left, if what is still to be spent goes as fast, by cost, as what this session has seen spent."""
        spent = sum(scale.finished * scale.cost for scale in status.scales)
        total = sum(scale.quota * scale.cost for scale in status.scales)
        if self._spent_before is None:
            self._spent_before = spent
        gained = spent - self._spent_before
        if not gained > 0:
            return "time left unknown"
        left = (time.monotonic() - self._started) * (total - spent) / gained
        return f"about {int(left) // 60}:{int(left) % 60:02d} left"


def agents_line(snapshot: Snapshot) -> Iterator[str]:
    """Sessions in the making, and what they cost of what they may."""
    money = snapshot.agents
    if money is None:
        return
    yield f"{counted(snapshot.status.n_open_sessions, 'session')} in the making"
    cap = "" if money.cap is None else f" of {money.cap:,.2f}"
    on_the_way = f", {money.reserved:,.2f} more set aside" if money.reserved else ""
    yield f"{money.spent:,.2f}{cap} {money.what}{on_the_way}"
    if snapshot.status.out_of_money:
        yield "no further session starts, a cap of money is reached"


@contextmanager
def progress_display(console: Console) -> Iterator[Display]:
    """A display that is live while the block runs, where the console is a terminal."""
    if not console.is_terminal:
        yield Display(console, None)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield Display(console, live)
