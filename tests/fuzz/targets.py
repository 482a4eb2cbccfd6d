"""What is fuzzed: readers of text that models write and of bytes that jobs send. Each takes any input; none may crash."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random

from genesys.checker import check_static
from genesys.errors import CAUSES, InterfaceError, JobFailed, UnitError
from genesys.gau import UnitTree, compose, parse_composed, parse_unit
from genesys.gau.library import library
from genesys.gau.published import published_text
from genesys.sandbox.frames import parse_answer

_PUBLISHED = published_text(
    "class A(GAUBase):\n    def __init__(self, embed_dim, rate=math.log(2), *, n: int = 3, **kwargs):\n        pass\n",
    name="A", kind="mixer", slots=("B",), reads=("x?",), writes=("*",), borrowed=("import math",),
)  # fmt: skip
_TOKENS = (
    *"={}()[]'\",:*@-#\n\\\t\r\0\f\ud800\uff19", "class ", "kind = 'mixer'", "slots", "accepts", "tied", "doc", "reads", "writes",
    "pointwise", "None", "null", "1", "1j", "0x", "1e999", "b'x'", "...", "**", "f'{x}'", "f'{", "lambda: ", "[[]]", "{[]: 1}",
    '"""', "\\\n", "\n    ", "import os", "async ", "yield ", "type X = int", "match x:", "# genesys-published: ",
    "def __init__(self, d, ctx, *, a: int = {}):", "9" * 5000, "(" * 300, "-" * 300, "if x:\n" * 30,
)  # fmt: skip
_TELLING = ("kind", "slots", "reads", "writes", "class", "def __init__", "genesys-published")


def read_unit(data: bytes) -> None:
    """A text is a unit, which composes and reads back as itself, or it gives findings."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        tree = UnitTree(parse_unit.__wrapped__(text))
    except UnitError as error:
        assert error.findings and all(finding.hint for finding in error.findings)
        return
    assert all(str(finding) for finding in check_static(tree))
    assert UnitTree.from_json(json.loads(json.dumps(tree.to_json()))) == tree
    if not tree.open_slots():
        assert parse_composed(compose(tree)) == tree


def read_tree(data: bytes) -> None:
    """A JSON text is a tree, or it is refused in one sentence."""
    try:
        UnitTree.from_json(json.loads(data))
    except (UnitError, InterfaceError) as error:
        assert str(error)
    except ValueError as error:  # not JSON at all
        assert type(error).__name__ in ("JSONDecodeError", "UnicodeDecodeError", "ValueError"), error
    except RecursionError:
        assert data.count(b"[") + data.count(b"{") > 200


def read_frame(data: bytes) -> None:
    """The bytes of a job are an answer, or a failure with a cause."""
    try:
        answer = parse_answer(data, "module:entry")
    except JobFailed as failure:
        assert failure.cause in CAUSES and len(str(failure)) < 3000
        return
    json.dumps(answer, allow_nan=False, ensure_ascii=False).encode()


TARGETS: Mapping[str, Callable[[bytes], None]] = {"unit": read_unit, "tree": read_tree, "frame": read_frame}


def seeds(target: str) -> list[bytes]:
    """Well-formed inputs to start from."""
    texts = [*(unit.source for unit in library().values()), *[_PUBLISHED] * 8]
    declarations = ["\n".join(line for line in text.split("\n") if any(w in line for w in _TELLING)) for text in texts]
    units = [text.encode() for text in (*texts * 4, *declarations)]
    trees = [json.dumps(UnitTree(unit).to_json()).encode() for unit in library().values()]
    frames = [json.dumps({"answer": {"losses": [0.5, 1e-3], "name": "gpt", "deep": {"x": [[], {}]}}}).encode()]
    frames += [json.dumps({"cause": cause, "message": "why"}).encode() for cause in CAUSES]
    return {"unit": units, "tree": trees, "frame": frames}[target]


def mutated(data: bytes, rng: Random) -> bytes:
    """A few random edits: pieces cut, doubled, moved or replaced by tokens and bytes that trip parsers."""
    for _ in range(rng.randint(1, 4)):
        at, to = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        piece = data[at : min(to, at + rng.choice((1, 4, 16, 64, 1000)))]
        token = rng.choice(_TOKENS).encode("utf-8", "surrogatepass") if rng.random() < 0.7 else rng.randbytes(3)
        new = rng.choice((b"", piece + piece, token, token + piece))
        data = data[:at] + new + data[at + len(piece) :]
    return data
