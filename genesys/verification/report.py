"""A verification's report as a file beside its weights: checked when it is written, and again when it is read.

`FOLDER/report.json` and the safetensors file that it names are all there is of one verification. The weights' path is
relative to the folder where they lie in it, so that the folder may move.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from genesys.errors import ConfigError, JobFailed
from genesys.verification.claims import open_claim, weights_file
from genesys.verification.integrity import check_integrity
from genesys.verification.types import VerificationReport
from genesys.verification.verify import flat_metrics

SCHEMA = 2
"""Of a report as JSON. Version 1 had no such key; its fields are among those of version 2."""
REPORT_FILE = "report.json"

_REQUIRED_METRICS = ("n_params", "test_bpb", "tokens_per_s", "unigram_bpb", "untrained_val_loss_nats", "val_loss_nats")
_MAX_WEIGHTS_BYTES = 2**36  # no scale comes near; a file of holes is not hashed for hours
_KINDS: Mapping[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float)}


def report_to_json(report: VerificationReport) -> dict[str, Any]:
    """The report as plain data, with the version of its schema."""
    return {"schema": SCHEMA, **report.to_json()}


def report_from_json(data: Any) -> VerificationReport:
    """Read what `report_to_json` gave, now or in an earlier version.

    Raises:
        ConfigError: A schema of a later version, a missing or unknown field, a value of another kind, or a number that
            is not finite.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"Cannot read a report: it is {type(data).__name__}; expected an object of JSON.")
    schema = data.get("schema", 1)
    if schema not in (1, SCHEMA):
        raise ConfigError(
            f"Cannot read a report of schema {schema!r:.20}: expected 1 to {SCHEMA}. Read it with the Genesys that wrote it."
        )
    given = {key: value for key, value in data.items() if key != "schema"}
    _check_fields(given)
    if wrong := next(_not_finite(given), None):
        raise ConfigError(f"Cannot read a report: {wrong}; expected finite numbers only.")
    return VerificationReport.from_json(given)


def write_report(report: VerificationReport, folder: Path) -> Path:
    """Write `report.json` into the folder of a verification, by a rename, if what it says of its weights holds.

    Law 1 at the last door: the weights file is hashed here once more, and whatever the report was made from is checked
    again. Does not cover figures that are wrong both in `metrics` and in `details`.

    Raises:
        JobFailed: Cause "integrity": the weights are not the ones that were trained and evaluated or are another
            design's, a figure is not the measured one, or a number is not finite; "infrastructure": it cannot be written.
    """
    check_report(report)
    weights = Path(report.weights).absolute()
    inside = weights.is_relative_to(folder.absolute())
    named = replace(report, weights=str(weights.relative_to(folder.absolute()) if inside else weights))
    text = json.dumps(report_to_json(named), indent=1, sort_keys=True, allow_nan=False)
    path = folder / REPORT_FILE
    try:
        _write_whole(path, text)
    except OSError as error:
        raise JobFailed("infrastructure", f"Cannot write {str(path)!r}: {error.strerror or error}.") from error
    return path


def read_report(path: Path, *, check_weights: bool = False) -> VerificationReport:
    """Read a report from its file, or from the folder of its verification.

    Args:
        check_weights: Also hold the report against its weights file, as `write_report` does.

    Raises:
        ConfigError: There is no readable report.
        JobFailed: With `check_weights`; cause "integrity".
    """
    path = path / REPORT_FILE if path.is_dir() else path
    try:
        report = report_from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:  # a ConfigError is a ValueError
        why = str(error.strerror if isinstance(error, OSError) else error)
        raise ConfigError(
            f"Cannot read report {str(path)!r}: {why.removeprefix('Cannot read a report: ')}; expected what "
            f"`genesys verify --out` wrote."
        ) from error
    report = replace(report, weights=str(path.absolute().parent / report.weights)) if report.weights else report
    if check_weights:
        check_report(report)
    return report


def check_report(report: VerificationReport) -> None:
    """Hold a report against its weights file and against what it was made from.

    Raises:
        JobFailed: Cause "integrity", with the first thing that does not hold.
    """
    wrong = next(_not_finite(report.to_json()), None) or _wrong_figure(report) or _wrong_weights(report)
    if wrong:
        raise JobFailed("integrity", f"Cannot accept the report of {report.design_id[:12]} at {report.scale}: {wrong}.")


def loss_curve(details: Mapping[str, Any]) -> tuple[tuple[int, float], ...]:
    """The training losses in a report's details: (tokens seen, nats per token).

    They are claims. Empty where they are no curve: finite losses at rising numbers of tokens.
    """
    try:
        points = tuple((int(n_tokens), float(loss)) for n_tokens, loss in details["train"]["curve"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return ()
    rising = all(before < after for (before, _), (after, _) in pairwise(points))
    return points if rising and all(math.isfinite(loss) for _, loss in points) else ()


def _wrong_figure(report: VerificationReport) -> str:
    trained, evaluated = report.details.get("train", {}), report.details.get("evaluate", {})
    for finding in check_integrity(trained, evaluated):
        return str(finding).rstrip(".")
    if (measured := flat_metrics(report.details)) != report.metrics:
        key = min(k for k in {**measured, **report.metrics} if measured.get(k) != report.metrics.get(k))
        return f"its {key} is {report.metrics.get(key)!r}; expected {measured.get(key)!r}, as measured"
    for key, ours in (("design_id", report.design_id), ("weights_sha256", report.weights_sha256)):
        if trained[key] != ours:
            return f"its {key} is {ours!s:.16}; expected {trained[key]!s:.16}, as trained"
    return ""


def _wrong_weights(report: VerificationReport) -> str:
    path = Path(report.weights)
    found = weights_file(path, max_bytes=_MAX_WEIGHTS_BYTES)
    if found.sha256 != report.weights_sha256:
        return f"the SHA-256 of {path.name!r} is {found.sha256[:16]}; expected {report.weights_sha256[:16]}"
    if (named := _design_in(path)) != report.design_id:
        return f"{path.name!r} holds weights of design {named[:16]!r}; expected {report.design_id[:16]}"
    return ""


def _design_in(path: Path) -> str:
    """The design that the header of a sound safetensors file names; "" if none."""
    with open_claim(path) as (file, _):
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    metadata = header.get("__metadata__")
    return str(metadata.get("design_id", "")) if isinstance(metadata, dict) else ""


def _check_fields(given: Mapping[str, Any]) -> None:
    """Each field is there and of its kind; unknown ones are `from_json`'s to refuse."""
    for field in fields(VerificationReport):
        if field.name not in given:
            if field.default is MISSING and field.default_factory is MISSING:
                raise ConfigError(f"Cannot read a report: it has no {field.name!r}.")
            continue
        value, kind = given[field.name], _KINDS.get(str(field.type), dict)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(f"Cannot read a report: its {field.name!r} is {value!r:.40}; expected {field.type}.")
    for name in _REQUIRED_METRICS:
        if name not in given["metrics"]:
            raise ConfigError(f"Cannot read a report: it has no metric {name!r}.")
    for name, value in given["metrics"].items():
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise ConfigError(f"Cannot read a report: its metric {name!r:.40} is {value!r:.40}; expected a number.")


def _not_finite(value: Any, place: str = "") -> Iterator[str]:
    """Say of each number that is not finite where it stands."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{place} is {value}"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{place}.{key}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, f"{place}[{index}]")


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise
