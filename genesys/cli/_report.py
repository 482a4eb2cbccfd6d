"""A verification's report as a reader wants it: sizes, figures beside what they are measured against, cost, curve."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from genesys.cli._curve import draw_curve
from genesys.cli._output import counted, printable
from genesys.errors import ConfigError
from genesys.verification.report import loss_curve

_CURVE_WIDTH = 78
_Z95 = 1.96


def print_report(report: Mapping[str, Any], console: Console, *, name: str = "") -> None:
    """Print a report, of any schema, as `genesys show` does."""
    for part in _parts(report, name, ascii_only=console.options.ascii_only, width=min(console.width, _CURVE_WIDTH)):
        console.print(part, highlight=False, soft_wrap=getattr(part, "no_wrap", False) is True)


def _parts(report: Mapping[str, Any], name: str, *, ascii_only: bool, width: int) -> Iterator[Any]:
    metrics, details, give_or_take = report["metrics"], report["details"], "+-" if ascii_only else "±"
    yield Text(f"{name or report['design_id'][:12]} at {report['scale']}, seed {report['seed']}", style="bold")
    yield Text(_sizes(report))
    yield Text(f"Data: {_data(report)}")
    yield _text_table(metrics, give_or_take)
    groups = _groups(report)
    if questions := _questions(metrics):
        yield _question_table(metrics, questions, groups, give_or_take)
        if any(f"{name}_majority" in metrics for name in questions):
            yield Text("chance: of a blind guess; majority: of always giving the commonest right answer.")
    for line in _absent(details.get("benchmarks", {}).get("absent", {}), groups):
        yield Text(line)
    if rates := details.get("train", {}).get("rates"):
        peak_lr, ran_away = report["config"]["scale"]["peak_lr"], details["train"].get("failed_rates", {})
        yield Text(f"Learning rates tried: {_rates(rates, ran_away, peak_lr)}.")
    yield Text(f"Cost: {_cost(report)}.")
    yield Text(f"Cage: {_cage(report.get('cage', {}))}.")
    if len(curve := loss_curve(details)) > 1:
        yield Text("\nTraining loss, nats/token, over the tokens seen")
        yield Text("\n".join(draw_curve(curve, width=width, ascii_only=ascii_only)), no_wrap=True)
    if report["weights"]:
        named = f"\nWeights: {report['weights']}, SHA-256 {report['weights_sha256'][:16]}"
        yield Text(named, no_wrap=True)


def _sizes(report: Mapping[str, Any]) -> str:
    shape, scale = report["config"].get("shape", {}), report["config"].get("scale", {})
    text = f"{report['metrics']['n_params']:,.0f} parameters"
    if shape:
        text += (
            f": {counted(shape['n_blocks'], 'block')} of width {shape['d_model']}, vocabulary {shape['vocab_size']:,}"
        )
    return text + (f", context {scale['context']:,}" if scale else "")


def _data(report: Mapping[str, Any]) -> str:
    """Corpus and tokenizer, as the shards say where they are still there; the data's hash."""
    known = f"SHA-256 {report['data_hash'][:12]}"
    try:
        text = (Path(report["config"]["shards"]) / "manifest.json").read_bytes()
        manifest = json.loads(text)
        if hashlib.sha256(text).hexdigest() == report["data_hash"]:
            return printable(f"{manifest['corpus']}, tokenizer {manifest['tokenizer']}, {known}")
    except (OSError, ValueError, KeyError, TypeError):
        pass  # gone, or of another format
    return known


def _text_table(metrics: Mapping[str, float], give_or_take: str) -> Table:
    table = _table("Held-out text", f"trained {give_or_take} 95%", "unigram", "untrained")
    bits, unigram, nats, untrained = (
        _shown(metrics, name, give_or_take)
        for name in ("test_bpb", "unigram_bpb", "val_loss_nats", "untrained_val_loss_nats")
    )
    table.add_row("test, bits/byte", bits, unigram, "-")
    table.add_row("validation, nats/token", nats, "-", untrained)
    return table


def _questions(metrics: Mapping[str, float]) -> list[str]:
    """Probes and tasks, as the metrics name them: what has a chance level."""
    return sorted(key for key in metrics if key.startswith(("probe_", "task_")) and f"{key}_chance" in metrics)


@dataclass(frozen=True, slots=True)
class _Group:
    """A group of tasks of which some are absent."""

    n_asked: int
    absent: Sequence[str]

    @property
    def n_members(self) -> int:
        return self.n_asked + len(self.absent)


def _groups(report: Mapping[str, Any]) -> dict[str, _Group]:
    """The groups of a suite that lack members, by name: a member's name begins with its group's."""
    suite = report["details"].get("benchmarks", {})
    tasks, absent = suite.get("tasks", {}), list(suite.get("absent", {}))
    names = {*tasks, *_entries(report["config"].get("scale", {}).get("suite", ""))} if absent else set()
    members: dict[str, list[str]] = {}
    for task in absent:
        if found := max((name for name in names if task.startswith(f"{name}_")), key=len, default=""):
            members.setdefault(found, []).append(task)
    return {name: _Group(len((tasks.get(name) or {}).get("members") or {}), found) for name, found in members.items()}


def _entries(suite: str) -> list[str]:
    """What a suite asks, tasks and groups; nothing where it is gone."""
    from genesys.evaluate.harness import load_suite

    try:
        return [entry.task for entry in load_suite(suite).tasks]
    except ConfigError:
        return []


def _absent(reasons: Mapping[str, str], groups: Mapping[str, _Group]) -> Iterator[str]:
    """One line for each group that lacks members, and for each task that is absent itself."""
    for name, group in groups.items():
        first = group.absent[0]
        yield f"Absent: {len(group.absent)} of {group.n_members} of {name}, the first {first} ({reasons[first]})"
    grouped = {task for group in groups.values() for task in group.absent}
    yield from (f"Absent: {task} ({reason})" for task, reason in reasons.items() if task not in grouped)


def _question_table(
    metrics: Mapping[str, float], names: list[str], groups: Mapping[str, _Group], give_or_take: str
) -> Table:
    """Shares of right answers beside what a guess and a constant answer reach, and the likelihood of the right ones."""
    columns = {"_majority": "majority", "_prob": f"p(right) {give_or_take} 95%"}
    used = {end: title for end, title in columns.items() if any(f"{name}{end}" in metrics for name in names)}
    table = _table("Probes and tasks", f"right {give_or_take} 95%", "chance", *used.values())
    for name in names:
        kind, _, what = name.partition("_")
        group = groups.get(what) if kind == "task" else None
        part = f" ({group.n_asked} of {group.n_members})" if group else ""
        table.add_row(
            f"{kind} {what}{part}", *(_shown(metrics, f"{name}{end}", give_or_take) for end in ("", "_chance", *used))
        )
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(header_style="bold")
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _shown(metrics: Mapping[str, float], name: str, give_or_take: str) -> str:
    """A figure with half its 95% interval, where it has one; a dash where it is not measured."""
    if name not in metrics:
        return "-"
    error = metrics.get(f"{name}_se")
    return f"{metrics[name]:.3f}" + ("" if error is None else f" {give_or_take} {_Z95 * error:.3f}")


def _rates(rates: Sequence[Sequence[float]], failed: Mapping[str, str], peak_lr: float) -> str:
    said = [f"{peak_lr * factor:g} ({loss:.3f} nats)" for factor, loss in rates]
    said += [f"{peak_lr * float(factor):g} (failed: {printable(reason)})" for factor, reason in failed.items()]
    return ", ".join(said) + "; the lowest loss counts"


def _cost(report: Mapping[str, Any]) -> str:
    """Tokens, FLOPs, seconds, memory: what the report knows; the training's own claims where it has no `cost`."""
    cost = report.get("cost") or report["details"].get("train", {})
    said = [f"{report['n_tokens']:,} tokens at {report['metrics']['tokens_per_s']:,.0f}/s"]
    if cost.get("flops"):
        said.append(f"{cost['flops']:.3g} FLOPs")
    said.append(f"{report['seconds']:,.1f} s")
    if "seconds" in cost:
        whole = cost["seconds"] <= report["seconds"]
        said[-1] += (
            f", {cost['seconds']:,.1f} s of them training" if whole else f" after {cost['seconds']:,.1f} s of training"
        )
    if cost.get("gpu_seconds"):
        said.append(f"{cost['gpu_seconds']:,.1f} GPU-seconds")
    if cost.get("peak_memory_mb"):
        said.append(f"{cost['peak_memory_mb']:,.0f} MB at the peak")
    return ", ".join(said)


def _cage(layers: Mapping[str, str]) -> str:
    off = {layer: reason for layer, reason in layers.items() if reason}
    if not layers:
        return "not recorded"
    if not off:
        return f"all {len(layers)} layers in force"
    return f"{len(layers) - len(off)} of {len(layers)} layers in force; off: " + "; ".join(
        f"{layer} ({reason})" for layer, reason in sorted(off.items())
    )
