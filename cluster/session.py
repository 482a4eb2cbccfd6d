"""The Ray session that a run lives in: a cluster of its own on a laptop, the surrounding one under `ray job`."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

from genesys.config import VerifiersConfig
from genesys.errors import ConfigError, TransientError

OBJECT_STORE_BYTES = 200_000_000
_TRIES = 2
_TEMPORARY = "/tmp" if os.name == "posix" else None  # socket paths are limited to about 107 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A connection to Ray.

    Attributes:
        is_local: Whether the cluster was started for this run and ends with it.
        dashboard_url: Where to watch; "" without a dashboard.
        token_file: The file with the token that the dashboard asks for; "" when it asks for none.
    """

    is_local: bool
    dashboard_url: str
    token_file: str
    n_hosts: int


def is_job() -> bool:
    """Whether this process was started inside a Ray cluster, by `ray job submit` for instance."""
    return bool(os.environ.get("RAY_ADDRESS") or os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"))


@contextmanager
def ray_session(*, namespace: str, n_cpus: int, dashboard: bool = True) -> Iterator[Session]:
    """Join the surrounding cluster, or start one on this machine and end it afterwards.

    A connection that the process already has is used and left open.

    Args:
        namespace: Ray namespace of the run's named actors.
        n_cpus: CPUs that a cluster of one's own offers; may exceed the machine's, since service actors mostly wait.
    """
    if ray.is_initialized():
        yield _describe(is_local=False)
        return
    if is_job():
        ray.init(namespace=namespace, log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield _describe(is_local=False)
        finally:
            ray.shutdown()
        return
    folder = tempfile.mkdtemp(prefix="gen-", dir=_TEMPORARY)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # no card for an actor that reserved none
    try:
        _start(namespace, n_cpus, dashboard, folder)
        yield _describe(is_local=True)
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _start(namespace: str, n_cpus: int, dashboard: bool, folder: str) -> None:
    """Start a cluster of one's own; a machine that is busy for a moment gets a second try.

    Raises:
        TransientError: Ray did not come up.
    """
    failure: Exception | None = None
    for _ in range(_TRIES):
        try:
            ray.init(
                address="local",
                namespace=namespace,
                num_cpus=n_cpus,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=dashboard,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=folder,
            )
        except Exception as error:  # Ray raises a bare one when the machine is too busy to start its servers in time
            failure = error
            ray.shutdown()  # of what did come up
        else:
            return
    why = str(failure).strip().split("\n")[0].rstrip(".")
    raise TransientError(
        f"Cannot start Ray here: {why}. Wait until the machine is less busy, then run again; add --resume if the run "
        f"has begun."
    ) from failure


def require_shared_folder(url: str, session: Session) -> None:
    """Refuse a run whose hosts would each keep a folder of their own.

    Raises:
        ConfigError: Several hosts and a relative folder.
    """
    if session.n_hosts > 1 and not Path(url).is_absolute():
        raise ConfigError(
            f"Cannot keep a run of {session.n_hosts} hosts in {url!r}: they would not share it. Set storage.url to an "
            f"absolute folder that all hosts can reach."
        )


def require_cards(verifiers: VerifiersConfig, session: Session) -> None:
    """Refuse to wait for cards that a cluster of one's own will never get.

    Raises:
        ConfigError: On a laptop, more GPUs or another card are asked for than there are. A real cluster may grow.
    """
    if not session.is_local:
        return
    offered, asked = ray.cluster_resources(), verifiers.gpus_per_verification
    if asked > offered.get("GPU", 0.0):
        raise ConfigError(
            f"Cannot reserve {asked:g} GPUs for a verifier: this machine offers {offered.get('GPU', 0.0):g}. Set "
            f"verifiers.gpus_per_verification: 0, or submit the run to a cluster."
        )
    card = verifiers.accelerator_type
    if card and f"accelerator_type:{card}" not in offered:
        raise ConfigError(
            f"Cannot reserve an accelerator of type {card!r}: this machine has none. Leave out verifiers.accelerator_type, "
            f"or submit the run to a cluster."
        )


def _describe(*, is_local: bool) -> Session:
    url = getattr(ray.get_runtime_context(), "dashboard_url", "") or ""
    try:
        from ray._private.worker import get_dashboard_url

        url = url or get_dashboard_url() or ""
    except ImportError:
        pass
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token"))
    asks = os.environ.get("RAY_AUTH_MODE") != "disabled" and token.expanduser().exists()
    return Session(
        is_local=is_local,
        dashboard_url=f"http://{url}" if url and "://" not in url else url,
        token_file=str(token) if asks else "",
        n_hosts=sum(1 for node in ray.nodes() if node["Alive"]),
    )
