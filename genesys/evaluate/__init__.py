"""Held-out loss, bits per byte and synthetic probes. Runs in a child process apart from the training's."""
