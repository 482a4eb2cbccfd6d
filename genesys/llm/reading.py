"""The JSON object in what a language model wrote, whatever it put around it.

Time is linear in the text's length, and nothing that a model writes raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

_START = re.compile(r'\{(?=\s*["}])')
_COMMA = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|,(?=\s*[}\]])', re.DOTALL)
_MOST_TRIES = 1000
_WORK = 8
"""Characters that may be parsed in vain for each one of the text, before the search is given up."""


def read_object(text: str, keys: Collection[str] = ()) -> dict[str, Any] | str:
    """The JSON object in a text, or a sentence that says why there is none.

    Code fences, prose and reasoning around it are passed over, and so are fences inside its strings. Line breaks within strings
    and commas before a closing bracket are let pass: neither can mean anything else. Of several objects, it is the last
    of those with the most of `keys`; one with none of them is not meant.
    """
    for mend in (str, _without_commas):
        best: dict[str, Any] | None = None
        most = 1 if keys else 0
        for found in _objects(mend(text)):
            n_keys = sum(key in found for key in keys)
            if n_keys >= most:
                best, most = found, n_keys
        if best is not None:
            return best
    return _complaint(text)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost objects of a text that parse, from its start."""
    work, end = _WORK * len(text), 0
    for _ in range(_MOST_TRIES):
        start = _START.search(text, end)
        if start is None or work < 0:
            return
        at = start.start()
        try:
            value, end = _DECODER.raw_decode(text, at)
            yield value
        except json.JSONDecodeError as error:
            work, end = work - (error.pos - at), at + 1
        except ValueError:  # Python refuses integers of more than some thousand digits
            work, end = work - (len(text) - at), at + 1
        except RecursionError:
            return


def _complaint(text: str) -> str:
    start = _START.search(text)
    if start is None:
        return "There is no JSON object in the answer" + ("." if text.strip() else ": it is empty.")
    try:
        _DECODER.raw_decode(text, start.start())
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) - 1 or error.msg.startswith("Unterminated string"):
            return f"The JSON object is cut off after {len(text) - start.start()} characters."
        line = text.count("\n", 0, error.pos) + 1
        return f"The JSON object does not parse at line {line} of the answer: {error.msg}."
    except ValueError:
        return "The JSON object holds a number of too many digits."
    except RecursionError:
        return "The JSON object is nested too deeply."
    return "The JSON object has none of the fields that were asked for."


def _without_commas(text: str) -> str:
    return _COMMA.sub(_without_comma, text)


def _without_comma(match: re.Match[str]) -> str:
    return "" if match.group() == "," else match.group()


_DECODER = json.JSONDecoder(strict=False)
