"""A run in Ray's dashboard and for Prometheus."""

from __future__ import annotations

from ray.util.metrics import Gauge

from genesys.evolution.status import RunStatus


class TreeMetrics:
    """Gauges of where a run stands."""

    def __init__(self) -> None:
        self._designs = Gauge("genesys_designs", "Designs by state", tag_keys=("state",))
        self._quota = Gauge("genesys_quota", "Designs at a scale by what became of them", tag_keys=("scale", "what"))
        self._best = Gauge("genesys_best_fitness", "Fitness of the design that leads", tag_keys=("scale",))

    def show(self, status: RunStatus) -> None:
        for state, n in status.states.items():
            self._designs.set(n, tags={"state": state})
        for scale in status.scales:
            for what in ("quota", "running", "verified", "failed"):
                self._quota.set(getattr(scale, what), tags={"scale": scale.name, "what": what})
        if status.best_fitness is not None:
            self._best.set(status.best_fitness.value, tags={"scale": status.best_scale})
