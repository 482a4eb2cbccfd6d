"""Attacks that reach other processes: by socket, by signal, by debugger."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.sandbox.attacks.prelude import syscall


def tcp_connect(goal: dict[str, Any]) -> object:
    """A TCP connection to a server on this machine."""
    with socket.create_connection(("127.0.0.1", goal["tcp_port"]), timeout=1) as connection:
        connection.sendall(b"stolen")
    return None


def tcp_connect_by_torch(goal: dict[str, Any]) -> object:
    """The same by torch's own client, which is C++."""
    from datetime import timedelta

    import torch.distributed

    torch.distributed.TCPStore("127.0.0.1", goal["tcp_port"], None, False, timeout=timedelta(seconds=1))
    return "connected"


def tcp_listen(goal: dict[str, Any]) -> object:
    """A server of its own, on which orders could be taken."""
    server = socket.create_server(("127.0.0.1", goal["bind_port"]))
    server.settimeout(1)
    server.accept()
    return None


def udp_send(goal: dict[str, Any]) -> object:
    """One datagram, as a name query would be."""
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"stolen", ("127.0.0.1", goal["udp_port"]))
    return None


def name_query(goal: dict[str, Any]) -> object:
    """The resolver's own socket, asked through a server of the harness."""
    query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06stolen\x04test\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", goal["udp_port"]))
        client.send(query)
    return None


def abstract_socket(goal: dict[str, Any]) -> object:
    """An abstract Unix socket, which no file system guards."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + goal["abstract"])
        client.sendall(b"stolen")
    return None


def path_socket(goal: dict[str, Any]) -> object:
    """A Unix socket outside scratch, such as a container engine's."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(goal["socket"])
        client.sendall(b"stolen")
    return None


def ray_sockets(goal: dict[str, Any]) -> object:
    """The raylet and the object store of a session, as they lie under the session's folder."""
    for name in ("plasma_store", "raylet"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{goal['ray']}/session_latest/sockets/{name}")
            client.sendall(b"stolen")
    return None


def ray_address(goal: dict[str, Any]) -> object:
    """The address by which a job would join its cluster."""
    import sys

    if any(os.environ.get(name) for name in ("RAY_ADDRESS", "RAY_JOB_ID", "RAY_RAYLET_PID")):
        return "the environment names a cluster"
    return "ray is already imported" if "ray._raylet" in sys.modules else None


def ray_object_store(goal: dict[str, Any]) -> object:
    """The object store's shared memory, as a file in /dev/shm."""
    return open(goal["plasma"]).read()


def _opens(family: int, kind: int, protocol: int = 0) -> bool:
    try:
        socket.socket(family, kind, protocol).close()
    except OSError:
        return False
    return True


def netlink_socket(goal: dict[str, Any]) -> object:
    """A netlink socket, by which the network and the audit log are set."""
    return "AF_NETLINK opens" if _opens(16, socket.SOCK_RAW) else None


def packet_socket(goal: dict[str, Any]) -> object:
    """A packet socket, which hears everything."""
    return "AF_PACKET opens" if _opens(17, socket.SOCK_RAW) else None


def raw_socket(goal: dict[str, Any]) -> object:
    """A raw IP socket."""
    return "SOCK_RAW opens" if _opens(socket.AF_INET, socket.SOCK_RAW, 1) else None


def vsock_socket(goal: dict[str, Any]) -> object:
    """A socket to the hypervisor."""
    return "AF_VSOCK opens" if _opens(40, socket.SOCK_STREAM) else None


def crypto_socket(goal: dict[str, Any]) -> object:
    """A socket to the kernel's cryptography, a rich source of holes."""
    return "AF_ALG opens" if _opens(38, socket.SOCK_SEQPACKET) else None


def kill_victim(goal: dict[str, Any]) -> object:
    """SIGKILL for another process of the same user."""
    os.kill(goal["victim"], signal.SIGKILL)
    return None


def stop_victim(goal: dict[str, Any]) -> object:
    """SIGSTOP for another process of the same user."""
    os.kill(goal["victim"], signal.SIGSTOP)
    return None


def kill_victim_by_pidfd(goal: dict[str, Any]) -> object:
    """The same by pidfd_send_signal."""
    pidfd = syscall(434, goal["victim"], 0)
    if pidfd >= 0:
        syscall(424, pidfd, int(signal.SIGKILL), None, 0)
    return None


def kill_parent(goal: dict[str, Any]) -> object:
    """SIGKILL for whoever started this job: the server, the keeper."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(0.3)
    return None


def signal_everybody(goal: dict[str, Any]) -> object:
    """Every process that can be signalled; signal 0 asks without harming."""
    os.kill(goal["owner"], 0)
    return "the owner could be signalled"


def trace_victim(goal: dict[str, Any]) -> object:
    """ptrace on another process, left again at once."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(0x4206, goal["victim"], None, None) != 0:
        return None
    libc.ptrace(17, goal["victim"], None, None)
    return "attached to the victim"


def write_memory_of_victim(goal: dict[str, Any]) -> object:
    """Another process's memory, overwritten by process_vm_writev."""
    text = ctypes.create_string_buffer(b"overwritten")
    local = (ctypes.c_size_t * 2)(ctypes.addressof(text), 11)
    remote = (ctypes.c_size_t * 2)(goal["victim_address"], 11)
    return "wrote" if syscall(311, goal["victim"], local, 1, remote, 1, 0) > 0 else None


def priority_of_victim(goal: dict[str, Any]) -> object:
    """Another process's share of the processor."""
    os.setpriority(os.PRIO_PROCESS, goal["victim"], 19)
    return None


def limits_of_victim(goal: dict[str, Any]) -> object:
    """Another process's limits, narrowed to nothing by prlimit."""
    import resource

    resource.prlimit(goal["victim"], resource.RLIMIT_NPROC, (0, 0))
    return "set a limit of the victim"


def chosen_to_die(goal: dict[str, Any]) -> object:
    """The first victim when memory runs short: another process's oom_score_adj."""
    Path(f"/proc/{goal['victim']}/oom_score_adj").write_text("1000")
    return None


def write_to_inherited_descriptors(goal: dict[str, Any]) -> object:
    """A forged message on every descriptor: the server's socket, another job's answer."""
    for fd in range(3, 256):
        for text in (b'{"job": 1, "exit": 0}\n{"answer": {"forged": true}}\n',):
            try:
                os.set_blocking(fd, False)
                os.write(fd, text)
            except OSError:
                continue
    return None


def terminal_injection(goal: dict[str, Any]) -> object:
    """Keys typed into the owner's terminal by TIOCSTI."""
    import fcntl

    fd = os.open("/dev/tty", os.O_RDWR)
    fcntl.ioctl(fd, 0x5412, b" ")
    return "typed into the terminal"


def shell(goal: dict[str, Any]) -> object:
    """A shell with what is left of the network and the home folder."""
    return subprocess.run(
        ["/bin/sh", "-c", f"cat {goal['secret_files'][0]}; echo x > {goal['home']}/by-shell"],
        capture_output=True, text=True, timeout=2,
    ).stdout  # fmt: skip


def setuid_program(goal: dict[str, Any]) -> object:
    """A program that runs as root whoever starts it: may privileges grow at exec?"""
    libc = ctypes.CDLL(None)
    return "exec may give privileges" if libc.prctl(39, 0, 0, 0, 0) == 0 else None


def keyring(goal: dict[str, Any]) -> object:
    """The keyring of the session, where tickets lie."""
    return "the session's keyring answers" if syscall(250, 0, -3, 1) > 0 else None


def shared_memory_segment(goal: dict[str, Any]) -> object:
    """A System V segment that a process of the same user made."""
    identifier = syscall(29, goal["shm_key"], 64, 0)
    if identifier < 0:
        return None
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(identifier, None, 0)
    return ctypes.string_at(address, 64).rstrip(b"\0").decode() if address != ctypes.c_void_p(-1).value else None


def kill_victim_by_other_calls(goal: dict[str, Any]) -> object:
    """The same by tkill, tgkill and rt_sigqueueinfo."""
    syscall(200, goal["victim"], int(signal.SIGKILL))
    syscall(234, goal["victim"], goal["victim"], int(signal.SIGKILL))
    syscall(129, goal["victim"], int(signal.SIGKILL), (ctypes.c_ubyte * 128)())
    return None


def stop_victim_by_descriptor(goal: dict[str, Any]) -> object:
    """SIGSTOP sent by the kernel, as the news of a descriptor that is owned by the victim."""
    import fcntl

    ours, theirs = socket.socketpair()
    fcntl.fcntl(ours, 10, int(signal.SIGSTOP))  # F_SETSIG
    fcntl.fcntl(ours, fcntl.F_SETOWN, goal["victim"])
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    theirs.send(b"x")
    time.sleep(0.1)
    return None


def processor_of_victim(goal: dict[str, Any]) -> object:
    """Another process, bound to one processor."""
    os.sched_setaffinity(goal["victim"], {min(os.sched_getaffinity(goal["victim"]))})
    return None


def names_in_home(goal: dict[str, Any]) -> object:
    """What lies in the home folder."""
    return ", ".join(os.listdir(goal["home"]))


def existence_of_a_file(goal: dict[str, Any]) -> object:
    """Size and time of a key file, by stat."""
    return f"the key file has {os.stat(goal['secret_files'][0]).st_size} bytes"


def watch_on_home(goal: dict[str, Any]) -> object:
    """News of every file that the owner touches."""
    watch = syscall(254, syscall(294, 0), goal["home"].encode(), 0xFFF)
    return "the home folder is watched" if watch >= 0 else None
