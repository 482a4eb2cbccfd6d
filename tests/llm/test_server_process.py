"""A server of one's own is kept alive, registered while it answers, and ended with all that it started."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from genesys.errors import ConfigError, TransientError
from genesys.llm.client import CallFailed, _request
from genesys.llm.served import deregister, endpoint, register, registered
from genesys.llm.server_process import Patience, ServerProcess, answers
from genesys.llm.settings import ModelConfig
from genesys.llm.vllm import (
    MODULE,
    ServeSettings,
    clean_environment,
    free_port,
    interpreter,
    require_vllm,
    vllm_command,
)

FAKE = Path(__file__).parent / "fake_server.py"
QUICK = Patience(start_s=60, probe_every_s=0.05, probe_s=0.5, n_silent=2, backoff_s=0.01, n_starts=3, end_s=5)
LONG_S = 120.0


def make_server(folder: Path, **changes: object) -> ServerProcess:
    port = free_port("127.0.0.1")
    command = [sys.executable, str(FAKE), "127.0.0.1", str(port), str(folder)]
    return ServerProcess(
        **{"name": "fake", "command": command, "root": f"http://127.0.0.1:{port}", "log_file": folder / "fake.log",
           "patience": QUICK, "registry": folder / "servers"} | changes
    )  # fmt: skip


@contextmanager
def running(server: ServerProcess) -> Iterator[None]:
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join(LONG_S)
        assert not thread.is_alive()


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_S
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def serving_process(server: ServerProcess) -> psutil.Process:
    ours = [
        p for p in psutil.Process().children() if p.cmdline()[1:2] == [str(FAKE)] and p.cmdline()[-1] in server.command
    ]
    assert len(ours) == 1
    return ours[0]


def test_it_is_registered_while_it_answers_and_started_again_when_killed(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    server = make_server(tmp_path, on_change=lambda what, why: told.append((what, why)))
    assert registered(server.registry) == {}
    with running(server):
        wait_for(lambda: server.is_ready)
        assert registered(server.registry) == {"fake": server.url} and answers(f"{server.root}/health", 5)
        os.kill(serving_process(server).pid, signal.SIGKILL)
        wait_for(lambda: server.n_restarts == 1 and server.is_ready)
        assert registered(server.registry) == {"fake": server.url}
    assert registered(server.registry) == {} and not answers(f"{server.root}/health", 1)
    assert told == [("ready", server.url), ("died", "it ended with code -9"), ("ready", server.url)]


def test_one_that_hangs_is_replaced(tmp_path: Path) -> None:
    server = make_server(tmp_path)
    with running(server):
        wait_for(lambda: server.is_ready)
        (tmp_path / "silent").touch()
        wait_for(lambda: server.n_restarts)
        assert not server.is_ready
        (tmp_path / "silent").unlink()
        wait_for(lambda: server.is_ready)
    assert len((tmp_path / "starts").read_text()) >= 2


def test_one_that_never_comes_up_is_given_up_with_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "die").touch()
    with pytest.raises(TransientError, match=r"(?s)Cannot serve 'fake': it ended with code 1, 3 times .*told to die"):
        make_server(tmp_path).run()
    assert (tmp_path / "starts").read_text() == "..."
    with pytest.raises(TransientError, match=r"Cannot start '/nowhere': No such file"):
        make_server(tmp_path, command=["/nowhere"]).run()


def test_its_children_end_with_it(tmp_path: Path) -> None:
    (tmp_path / "child").touch()
    server = make_server(tmp_path)
    with running(server):
        wait_for(lambda: server.is_ready)
        child = int((tmp_path / "child").read_text())
        assert psutil.pid_exists(child)
    wait_for(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_a_served_model_is_found_by_name_at_each_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genesys.llm.served.servers_folder", lambda: tmp_path)
    model = ModelConfig(name="hosted_vllm/small", api_base="served:small")
    with pytest.raises(CallFailed, match=r"no server of that name is registered\. Start it: genesys serve"):
        _request(model, 1.0)
    for url in ("http://10.0.0.1:1/v1", "http://10.0.0.2:2/v1"):
        register("small", url)
        assert _request(model, 1.0)["api_base"] == url
    assert endpoint("http://elsewhere/v1") == "http://elsewhere/v1" and endpoint("") == ""
    with pytest.raises(ConfigError, match=r"Did you mean 'small'"):
        endpoint("served:smal")
    deregister("small", "http://10.0.0.1:1/v1")
    assert registered() == {"small": "http://10.0.0.2:2/v1"}, "another has taken the name meanwhile"
    for name in ("", "../x", ".hidden", "a/b"):
        with pytest.raises(ConfigError, match=r"for the name of a server"):
            register(name, "http://x")


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "1", "{}", "\xff"])
def test_a_file_that_is_no_entry_is_no_server(tmp_path: Path, text: str) -> None:
    register("good", "http://10.0.0.1:1/v1", tmp_path)
    (tmp_path / "bad.json").write_bytes(text.encode("latin-1"))
    assert registered(tmp_path) == {"good": "http://10.0.0.1:1/v1"}
    assert endpoint("served:good", tmp_path) == "http://10.0.0.1:1/v1"
    with pytest.raises(ConfigError, match=r"no server of that name is registered"):
        endpoint("served:bad", tmp_path)


def test_the_command_line_of_vllm() -> None:
    settings = ServeSettings(model="org/Some Model-7B", gpus=2, options=("--dtype", "float32"))
    assert vllm_command(settings, python="/env/bin/python", host="127.0.0.1", port=8000) == [
        "/env/bin/python", "-m", MODULE, "--model", "org/Some Model-7B", "--served-model-name", "Some-Model-7B",
        "--host", "127.0.0.1", "--port", "8000", "--tensor-parallel-size", "2", "--dtype", "float32",
    ]  # fmt: skip
    assert "--tensor-parallel-size" not in vllm_command(ServeSettings(model="m"), python="p", host="h", port=1)


def test_keys_of_others_are_not_handed_on() -> None:
    found = clean_environment({"OPENAI_API_KEY": "secret", "VLLM_API_KEY": "k", "PYTHONPATH": "x", "HOME": "/h"})
    assert found == {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_API_KEY": "k", "HOME": "/h"}


def test_interpreters_and_ports(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    assert interpreter(str(tmp_path)) == str(tmp_path / "bin" / "python"), "the link is the environment"
    assert interpreter("") == sys.executable
    with pytest.raises(ConfigError, match=r"neither a Python nor a folder with bin/python"):
        interpreter(str(tmp_path / "nothing"))
    (tmp_path / "broken").write_text("")
    with pytest.raises(ConfigError, match=r"it does not run"):
        require_vllm(str(tmp_path / "broken"))
    with pytest.raises(ConfigError, match=r"vLLM is not installed there\. .*bin.pip install vllm"):
        require_vllm(sys.executable)
    with pytest.raises(ConfigError, match=r"Cannot serve on -1 GPUs"):
        ServeSettings(model="m", gpus=-1)
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=r"Cannot serve at 127\.0\.0\.1:\d+: .*in use"):
            free_port("127.0.0.1", taken.getsockname()[1])
