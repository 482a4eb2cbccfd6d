"""English prose from the docstrings of installed Python packages, read by `ast` and never by importing them.

One document is the prose of one module. A paragraph counts as prose when it reads like sentences: tables, doctests,
signatures, parameter lists and banners are dropped, and a paragraph that was seen before is not taken again.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from genesys.errors import ConfigError

STANDARD_LIBRARY = "python"
DEFAULT_PACKAGES = (STANDARD_LIBRARY, "networkx", "numpy", "torch", "ray")
FILTER_VERSION = 1

_SKIPPED_FOLDERS = {
    "test",
    "tests",
    "testing",
    "idle_test",
    "site-packages",
    "dist-packages",
    "lib2to3",
    "__pycache__",
    "_vendor",
}
_MIN_PARAGRAPH, _MIN_DOCUMENT = 60, 200
_WORD = re.compile(r"[A-Za-z][a-z'-]*")
_PLAIN = re.compile(r"[(\"'`]*[A-Za-z][a-z'-]*[)\"'`]*[.,;:!?]*")
_MARKUP = re.compile(r"^\s*(>>>|\.\.\.|\.\. |:\w+|[-=~*#+|_]{3}|\$ |@|[|+]|\w+ : )")
_LABEL = re.compile(r"^(Args|Arguments|Attributes|Examples?|Parameters|Raises|Returns|Yields):")
_SENTENCE = re.compile(r"[.!?:][\"')\]]*(\s|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageDocs:
    """The prose of one package.

    Attributes:
        package: Distribution name, or "python" for the standard library.
        documents: One text a module, modules in alphabetical order of their paths.
    """

    package: str
    version: str
    documents: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        return sum(len(text.encode()) for text in self.documents)


def read_docs(packages: Iterable[str], cache_dir: Path, *, min_bytes: int | None = None) -> Iterator[PackageDocs]:
    """Give the prose of each package in turn, stopping once `min_bytes` are there.

    Args:
        packages: Import names; "python" is the standard library.
        cache_dir: Extracted texts are kept there by (package, version).
        min_bytes: None takes all packages; otherwise a package that is not installed is passed over.

    Raises:
        ConfigError: A package that was asked for is not installed.
    """
    n_bytes, packages = 0, list(packages)
    for package in packages if min_bytes is None else ():
        _installed(package)  # a mistake comes out before the others are read
    for package in packages:
        if min_bytes is not None and n_bytes >= min_bytes:
            return
        if min_bytes is not None and _root(package) is None:
            continue
        docs = _cached(package, cache_dir)
        n_bytes += docs.n_bytes
        yield docs


def extract(package: str) -> PackageDocs:
    """Read the prose of one installed package."""
    root = _installed(package)
    seen: set[str] = set()
    documents = (_module_prose(path, seen) for path in _modules(root))
    return PackageDocs(package=package, version=package_version(package), documents=tuple(d for d in documents if d))


def prose_paragraphs(docstring: str) -> Iterator[str]:
    """The paragraphs of a docstring that read like English sentences, lines joined."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        lines = [line.strip() for line in block.splitlines()]
        if _LABEL.match(lines[0]) or any(_MARKUP.match(line) for line in lines):
            continue
        text = re.sub(r"\s+", " ", " ".join(lines)).strip()
        if is_prose(text):
            yield text


def is_prose(text: str) -> bool:
    """Whether a paragraph is mostly natural language: long enough, words, few symbols, a sentence's end."""
    if len(text) < _MIN_PARAGRAPH or not text.isascii() or not _SENTENCE.search(text):
        return False
    n_letters = sum(map(len, _WORD.findall(text)))
    tokens = text.split()
    n_plain = sum(map(bool, map(_PLAIN.fullmatch, tokens)))
    return n_letters >= 0.7 * len(text) and n_plain >= 0.75 * len(tokens)


def _module_prose(path: Path, seen: set[str]) -> str:
    try:
        module = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a template, or a file for another version of Python
        return ""
    paragraphs = []
    for text in _docstrings(module):
        for paragraph in prose_paragraphs(text):
            if paragraph not in seen:
                seen.add(paragraph)
                paragraphs.append(paragraph)
    document = "\n\n".join(paragraphs)
    return document if len(document) >= _MIN_DOCUMENT else ""


def _docstrings(parent: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Docstrings in the order of the text; only bodies are walked, which is much faster than every expression."""
    text = ast.get_docstring(parent, clean=False)
    if text:
        yield text
    for node in parent.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _docstrings(node)


def _modules(root: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if name not in _SKIPPED_FOLDERS)
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def _root(package: str) -> Path | None:
    if package == STANDARD_LIBRARY:
        return Path(sysconfig.get_paths()["stdlib"])
    if "." in package:
        return None
    spec = util.find_spec(package)  # finds a top-level package without running it
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None


def _installed(package: str) -> Path:
    root = _root(package)
    if root is None:
        raise ConfigError(
            f"Cannot read the docstrings of {package!r}: no such package is installed. "
            f"Install it, or name another in `corpus: python-docs:a,b`."
        )
    return root


def package_version(package: str) -> str:
    """The installed version of a package, "unknown" for one that carries none."""
    if package == STANDARD_LIBRARY:
        return ".".join(map(str, sys.version_info[:3]))
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _cached(package: str, cache_dir: Path) -> PackageDocs:
    path = cache_dir / "docs" / f"{package}-{package_version(package)}-filter{FILTER_VERSION}.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return PackageDocs(package=package, version=data["version"], documents=tuple(data["documents"]))
    except (OSError, ValueError, KeyError):  # absent, or cut short: extracted again
        docs = extract(package)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False) as file:
        json.dump({"version": docs.version, "documents": docs.documents}, file)
    os.replace(file.name, path)
    return docs
