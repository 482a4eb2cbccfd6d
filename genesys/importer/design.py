"""Import whole designs: bind each unit's slots to the units that they name, and keep where everything came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from genesys.errors import Finding, InterfaceError, UnitError
from genesys.gau import Expression, Unit, UnitTree, Value
from genesys.gau.unit import freeze
from genesys.importer.files import PublishedDesign, find_designs, read_design
from genesys.importer.interface import read_unit, unit_behind, unit_texts
from genesys.importer.names import Text

FORMAT = "genesys-published-1"
MAX_PLACES = 512  # a design of 13 units that name each other twice would have thousands
Outcome = Literal["imported", "unfinished", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedDesign:
    """What became of one design file.

    Attributes:
        tree: None where the import failed; `findings` then say why.
        findings: Errors, and warnings about what was left out.
        provenance: Format, file, name, status, title, unit names, units left out, tests.
    """

    name: str
    file: Path
    tree: UnitTree | None = None
    findings: tuple[Finding, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """ "unfinished" where slots are open: it can be checked, not trained."""
        if self.tree is None:
            return "failed"
        return "unfinished" if self.tree.open_slots() else "imported"

    def to_json(self) -> dict[str, Any]:
        """The design as `genesys check` reads it, with its provenance.

        Raises:
            ValueError: The import failed.
        """
        if self.tree is None:
            raise ValueError(f"Cannot write design {self.name!r}: it was not imported. See its findings.")
        return {**self.tree.to_json(), "provenance": dict(self.provenance)}


def import_designs(path: Path) -> Iterator[ImportedDesign]:
    """Import the design in a file, or every design below a folder; one that fails does not stop the others.

    Raises:
        ConfigError: No such path.
    """
    for file in find_designs(path):
        yield import_design(file)


def import_design(file: Path) -> ImportedDesign:
    """Import the design in a file. Reads text only: nothing of it is run."""
    try:
        published = read_design(file)
    except (OSError, ValueError, RecursionError) as error:
        name = file.parent.name if file.parent.name else file.stem
        finding = Finding(rule="design-file", measured=f"{type(error).__name__}: {error}"[:300],
                          required="a published implementation as JSON", hint="Check that the file is whole.")  # fmt: skip
        return ImportedDesign(name=name, file=file, findings=(finding,))
    return _import(published, file)


def _import(published: PublishedDesign, file: Path) -> ImportedDesign:
    texts, findings = unit_texts(published.units)
    root = unit_behind(published.root, texts)
    if not findings and root is None:
        findings.append(
            _finding("root", published.root, f"no code for the root unit {published.root!r}", "a root unit")
        )
    tree = None
    binder = _Binder(published, texts)
    if not findings and root is not None:
        try:
            tree = binder.tree(root)
        except UnitError as error:
            findings += error.findings
        except (InterfaceError, RecursionError) as error:
            findings.append(_finding("tree", published.root, str(error), "units that fit"))
    provenance = {
        "format": FORMAT,
        "file": file.name if file.parent == Path() else f"{file.parent.name}/{file.name}",
        "name": published.name,
        "status": published.status,
        "title": published.title,
        "units": sorted(published.units),
        "unused": sorted(published.units.keys() - binder.units.keys()),
        "tests": {name: dict(unit.tests) for name, unit in sorted(published.units.items()) if unit.tests},
    }
    return ImportedDesign(
        name=published.name, file=file, tree=tree, findings=(*findings, *binder.warnings), provenance=provenance
    )


class _Binder:
    """Builds the tree of one design, from the root down."""

    def __init__(self, published: PublishedDesign, texts: Mapping[str, Text]) -> None:
        self.published, self.texts = published, texts
        self.units: dict[str, Unit] = {}
        self.warnings: list[Finding] = []
        self._n_places = 0

    def tree(self, name: str, above: tuple[str, ...] = ()) -> UnitTree:
        """The subtree of a unit; a slot that names a unit above it stays open.

        Raises:
            UnitError: A text holds no unit, or the tree has too many places.
        """
        self._n_places += 1
        if self._n_places > MAX_PLACES:
            raise UnitError([_finding("size", name, f"more than {MAX_PLACES} places in the tree", "fewer")])
        unit = self._unit(name)
        children = []
        for slot in unit.slots:
            behind = unit_behind(slot.name, self.texts)
            if behind is None:
                continue
            if behind in (*above, name):
                self._warn(
                    "recursion", name, f"child {slot.name!r} contains this unit", "a tree; the slot is left open"
                )
                continue
            children.append((slot.name, self.tree(behind, (*above, name))))
        return UnitTree(unit, tuple(self._hyperparameters(name, unit)), tuple(children))

    def _unit(self, name: str) -> Unit:
        if name not in self.units:
            is_root = not self.units
            self.units[name] = read_unit(self.published.units[name], self.texts, is_root=is_root)
        return self.units[name]

    def _hyperparameters(self, name: str, unit: Unit) -> Iterator[tuple[str, Value]]:
        """Values that the file sets apart from the text's defaults; a default that is code stays as the text has it."""
        for argument, value in self.published.units[name].args.items():
            declared = unit.hyperparameter(argument)
            if declared is None or isinstance(declared.default, Expression) or value is None:
                continue
            try:
                frozen = freeze(value)
            except TypeError:
                continue
            if declared.default is None or _is_alike(frozen, declared.default):
                yield argument, frozen

    def _warn(self, rule: str, unit: str, measured: str, required: str) -> None:
        finding = _finding(rule, unit, measured, required, severity="warning")
        if finding not in self.warnings:
            self.warnings.append(finding)


def _is_alike(value: Value, default: Value) -> bool:
    """Whether a value could replace a default: a number a number, a text a text."""
    numbers = (int, float)
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(value, numbers) and isinstance(default, numbers):
        return value != default
    return type(value) is type(default)


def _finding(
    rule: str, unit: str, measured: str, required: str, *, severity: Literal["error", "warning"] = "error"
) -> Finding:
    return Finding(rule=rule, unit=unit, measured=measured, required=required, severity=severity,
                   hint="Repair the design, or fill the place by hand.")  # fmt: skip
