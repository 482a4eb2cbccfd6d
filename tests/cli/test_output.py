"""Tables and sentences at the widths of real terminals."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from genesys.cli._output import Folded, leaderboard_table, make_console, make_table, print_notes

NAMES = ["DataDependentLerp+SwiGLU-b49f", "RWKV6TimeMix+RWKV6ChannelMix-cf8f", "gpt"]


def shown(what: Any, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def row(name: str, *, tasks: bool) -> dict[str, Any]:
    return {
        "name": name, "is_seed": name == "gpt", "scale": "cpu-3", "fitness": 1.14, "interval": (0.66, 1.62),
        "n_seeds": 3, "val_bpb": 2.383, "tasks": {"arc": {}} if tasks else {}, "task_score": 0.313,
        "probes": {"copy": 0.95, "induction": 0.98, "recall": 0.97}, "n_params": 350e6,
    }  # fmt: skip


@pytest.mark.parametrize("tasks", [False, True])
@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_leaderboard_keeps_names_whole_and_says_what_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, width: int, tasks: bool
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = shown(leaderboard_table([row(name, tasks=tasks) for name in NAMES], title="Leaderboard"), width)
    assert "…" not in text and all(len(line) <= width for line in text.splitlines())
    assert all(piece in text for piece in ("DataDependentLerp+", "RWKV6ChannelMix-", "b49f", "+1.14 ± 0.48"))
    left_out = text.partition("Too narrow for ")[2]
    assert bool(left_out) == (width == 60 or (width == 80 and tasks))
    assert ("350M" in text) == ("params" not in left_out) and ("0.97" in text) == ("recall" not in left_out)


@settings(max_examples=100, deadline=None)
@given(
    name=st.lists(st.text("abcXYZ09", min_size=1, max_size=9), min_size=1, max_size=6).map("+".join),
    width=st.integers(10, 60),
)
def test_a_folded_name_reads_as_before_and_breaks_behind_joints(name: str, width: int) -> None:
    table = make_table("", ("design",), names=("design",))
    table.add_row(Folded(name))
    lines = [line.strip() for line in shown(table, width).splitlines()[1:]]
    assert "".join(lines) == name and all(len(line) <= width for line in lines)
    assert all(line.endswith("+") for line in lines[:-1])


def test_sentences_are_printed_as_they_are_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    print_notes(make_console(), ["Cannot [bold]be[/bold] lost: " + "word " * 60 + "cpu-3."])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Cannot [bold]be[/bold] lost:") and len(lines) > 3
    assert max(map(len, lines)) <= 100 and set(" ".join(lines[1:]).split()) == {"word", "cpu-3."}


def test_columns_says_the_width_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert make_console().width == 100
    monkeypatch.setenv("COLUMNS", "72")
    assert make_console().width == 72
