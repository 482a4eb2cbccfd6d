"""How fast a model may be called, by all designers together: token buckets over a queue."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from genesys.llm.settings import ModelConfig

BURST = 0.1  # of a minute's allowance: what may pass at once
MAX_HOLD_S = 900.0  # an endpoint that asks for more is asked again after this


@dataclass(slots=True)
class _Bucket:
    """Holds up to a tenth of a minute's allowance and takes 60 s to pass nine tenths, so that no minute passes more."""

    per_minute: float
    level: float = field(init=False)

    def __post_init__(self) -> None:
        self.level = self.burst

    @property
    def burst(self) -> float:
        return self.per_minute * BURST

    @property
    def per_second(self) -> float:
        return self.per_minute * (1 - BURST) / 60

    def wait_s(self, n: float) -> float:
        """Until `n` may pass; what is more than the bucket holds passes when it is full, and leaves a debt."""
        return max(0.0, min(n, self.burst) - self.level) / self.per_second

    def fill(self, n: float) -> None:
        self.level = min(self.burst, self.level + n)


class Pace:
    """Tells each call to one model when it may be sent: first come, first sent.

    Guarantees: in any 60 s at most `requests_per_minute` are sent, and at most `tokens_per_minute`, or more by what one
    call takes beyond a tenth of it. What a call was given and did not use comes back by `give_back`; over any time since
    the start, no more is used than the same limits allow. Belongs to one thread.

    Args:
        requests_per_minute, tokens_per_minute: None for no limit.
        clock: In seconds; never goes back.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests = _Bucket(requests_per_minute) if requests_per_minute else None
        self._tokens = _Bucket(tokens_per_minute) if tokens_per_minute else None
        self._clock = clock
        self._at = clock()  # when the last call is sent: the buckets stand as they will stand then

    def reserve(self, n_tokens: int) -> float:
        """Take a place in the queue; gives the seconds to wait before the call is sent."""
        now = self._clock()
        self._advance(max(now, self._at))
        needs = [(b, n) for b, n in ((self._requests, 1), (self._tokens, n_tokens)) if b is not None]
        self._advance(self._at + max((bucket.wait_s(n) for bucket, n in needs), default=0.0))
        for bucket, n in needs:
            bucket.level -= n
        return self._at - now

    def give_back(self, n_tokens: int) -> None:
        """A call took fewer tokens than it had reserved."""
        if self._tokens is not None and n_tokens > 0:
            self._tokens.fill(n_tokens)

    def hold(self, seconds: float) -> None:
        """The endpoint asks to be left alone: whoever asks from now on is sent after that."""
        if seconds > 0:  # false for NaN
            self._advance(max(self._at, self._clock() + min(seconds, MAX_HOLD_S)))

    def _advance(self, at: float) -> None:
        for bucket in (self._requests, self._tokens):
            if bucket is not None:
                bucket.fill((at - self._at) * bucket.per_second)
        self._at = at


def paces(
    models: Mapping[str, tuple[ModelConfig, ...]], *, clock: Callable[[], float] = time.monotonic
) -> dict[str, Pace]:
    """One pace for each model of a configuration, by name; a model that stands there twice keeps to its lowest limits."""
    limits: dict[str, tuple[float, float]] = {}
    for model in (model for role in models.values() for model in role):
        requests, tokens = limits.get(model.name, (math.inf, math.inf))
        limits[model.name] = (
            min(requests, model.requests_per_minute or math.inf),
            min(tokens, model.tokens_per_minute or math.inf),
        )
    finite = {name: tuple(None if math.isinf(x) else x for x in pair) for name, pair in limits.items()}
    return {name: Pace(requests, tokens, clock=clock) for name, (requests, tokens) in finite.items()}
