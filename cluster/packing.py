"""Corpora packed by the tasks of a Ray cluster, or by processes where there is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from cluster.session import is_job, ray_session
from genesys.config import RunConfig
from genesys.errors import TransientError
from genesys.train.data.progress import OnEstimate, OnProgress
from genesys.train.data.shards import Shards, prepare_shards

Task = TypeVar("Task")
Result = TypeVar("Result")


def prepare_corpus(
    config: RunConfig, cache_dir: Path, *, on_estimate: OnEstimate | None = None,
    on_progress: OnProgress = lambda progress: None,
) -> Shards:  # fmt: skip
    """Give the shards of a run's corpus; inside a cluster all its hosts pack, and must share `cache_dir`.

    Raises:
        ConfigError, TransientError: As `prepare_shards`.
    """
    in_cluster = is_job() or ray.is_initialized()
    with ray_session(namespace="genesys-data", n_cpus=os.cpu_count() or 1) if in_cluster else nullcontext():
        return prepare_shards(
            config.corpus, cache_dir, config.tokenizer, map_parts=map_in_cluster if in_cluster else None,
            on_estimate=on_estimate, on_progress=on_progress,
        )  # fmt: skip


def map_in_cluster(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    """The results as they come, one CPU for each task; a task whose host dies is tried again elsewhere by Ray.

    Raises:
        TransientError: The cluster could not keep a task alive. What the function raises comes as it is.
    """
    remote = ray.remote(num_cpus=1)(function)
    waiting = [remote.remote(task) for task in tasks]
    try:
        while waiting:
            done, waiting = ray.wait(waiting)
            yield ray.get(done[0])
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise TransientError(
            f"Cannot go on packing: {' '.join(str(error).split())[:200]}. Start again; what is packed stays packed."
        ) from error
    finally:
        for ref in waiting:
            ray.cancel(ref)
