"""OpenAI's protocol: what a request asks for, and the parts of an answer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from genesys.testing._answers.turns import form_of

_N_DIMENSIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompted:
    """What a request asks for.

    Attributes:
        task: Of the first message from the user.
        prefix: The first message, which requests may have in common.
    """

    form: str
    mode: str
    schema: dict[str, Any]
    task: str
    prefix: str
    is_first: bool
    n_input: int
    max_tokens: int

    @staticmethod
    def of(body: Mapping[str, Any]) -> Prompted:
        asked = body.get("response_format") or {"type": "text"}
        named = asked.get("json_schema") or {}
        schema = named.get("schema") or asked.get("schema") or {}
        said = [(message["role"], _text(message["content"])) for message in body["messages"]]
        whole = "\n".join(text for _, text in said)
        form = form_of(str(named.get("name") or schema.get("title") or ""), schema, whole)
        return Prompted(
            form=form,
            mode=asked["type"],
            schema=schema,
            task=next((text for role, text in said if role == "user"), ""),
            prefix=said[0][1],
            is_first=all(role != "assistant" for role, _ in said),
            n_input=sum(4 + n_tokens(text) for _, text in said) + (n_tokens(json.dumps(schema)) if schema else 0),
            max_tokens=int(body.get("max_completion_tokens") or body.get("max_tokens") or 2**20),
        )


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def n_tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // 4)


def reported(usage: Mapping[str, int]) -> dict[str, Any]:
    return {
        "prompt_tokens": usage["n_input"],
        "completion_tokens": usage["n_output"],
        "total_tokens": usage["n_input"] + usage["n_output"],
        "prompt_tokens_details": {"cached_tokens": usage["n_cached"]},
    }


def envelope(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": "scripted", "object": kind, "created": 0, "model": body.get("model", "scripted")}


def refusal(rng: Random) -> tuple[dict[str, Any], str, str]:
    """One of the three ways in which models decline."""
    said = "I'm sorry, but I can't help with that."
    return rng.choice(
        (
            ({"role": "assistant", "content": None, "refusal": said}, "refusal", "stop"),
            ({"role": "assistant", "content": said}, "refusal", "stop"),
            ({"role": "assistant", "content": ""}, "refusal", "content_filter"),
        )
    )


def embedding(text: str) -> list[float]:
    """A text's words, hashed into a vector of length 1: texts with words in common are near each other."""
    vector = [0.0] * _N_DIMENSIONS
    for word in re.findall(r"\w+", text.lower()):
        digest = hashlib.sha256(word.encode()).digest()
        vector[digest[0] % _N_DIMENSIONS] += 1.0 if digest[1] % 2 else -1.0
    norm = sum(x * x for x in vector) ** 0.5 or 1.0
    return [x / norm for x in vector]
