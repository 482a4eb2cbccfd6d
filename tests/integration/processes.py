"""Processes of Ray's actors, found by their titles."""

from __future__ import annotations

import psutil


def actor_processes(kind: str, parent: psutil.Process) -> list[psutil.Process]:
    """The worker processes below `parent` that serve an actor of that class; one that ends meanwhile is none."""
    found = []
    for child in parent.children(recursive=True):
        try:
            if any(part.startswith(f"ray::{kind}") for part in child.cmdline()):
                found.append(child)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
