"""A seccomp filter: system calls that tensor computation never needs fail with EPERM, for good.

A list of what is denied rather than of what is allowed: torch, CUDA and their libraries call most of the rest, and
differently in each version. Does not cover: what files and processes a call is about (Landlock, namespaces), and bugs
in the calls that are left.

Source: Linux, Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import socket
import struct
from collections.abc import Mapping

from genesys.sandbox.kernel import PR_SET_PDEATHSIG, number, syscall

_MACHINE = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ALLOW, _ERRNO = 0x8000_0000, 0x7FFF_0000, 0x0005_0000
_EPERM, _ENOSYS = 1, 38
_NR, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
_X32_BIT = 0x4000_0000
_NAMESPACE_FLAGS = 0x7E02_0080
_SET_ID = 0o6000  # a file in `writable` outlives the job: with these bits it would run as the job's user
_O_CREATE = os.O_CREAT | 0o20000000  # or O_TMPFILE; without them `open` has no mode
# TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP: typing and signalling for others; FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR
_IOCTLS = (0x5412, 0x541C, 0x8901, 0x8902, 0x4008_6602, 0x401C_5820)
_FCNTLS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX
_NO_STREAM = 0xE  # type bits of sockets that take an address with each message
_SET_MODE_FILTER = 1

# name: (x86-64, arm64); None where the architecture has no such call
_DENIED: Mapping[str, tuple[int | None, int | None]] = {
    # other processes and their memory
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
    "setsid": (112, 157), "setpgid": (109, 154), "execve": (59, 221), "execveat": (322, 281),
    # the network, and everything else that has an address
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "sendmmsg": (307, 269),
    # memory that belongs to no process
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "msgget": (68, 186),
    "semop": (65, 193), "semtimedop": (220, 192), "semctl": (66, 191), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187), "mq_open": (240, 180), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    # what other jobs read, and when
    "preadv2": (327, 286), "pwritev2": (328, 287), "cachestat": (451, 451), "mincore": (27, 232), "fadvise64": (221, 223),
    "readahead": (187, 213),
    # file systems and namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "mknod": (133, None),
    "mknodat": (259, 33), "fanotify_init": (300, 262), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "inotify_init": (253, None), "inotify_init1": (294, 26),
    # limits and turns on the processor
    "setrlimit": (160, 164), "setpriority": (141, 140), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239),
    # the kernel and the machine
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "syslog": (103, 116),
    "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "personality": (135, 92), "vhangup": (153, 58), "lookup_dcookie": (212, 18),
}  # fmt: skip


# what neither Landlock nor an open descriptor guards: it matters where a job sees files that are not its own
_METADATA: Mapping[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "truncate": (76, 45),
}  # fmt: skip


_TCP = ("socket", "connect", "bind", "listen", "accept", "accept4")


def install(*, allow_memfd: bool = False, allow_metadata: bool = True, allow_tcp: bool = False) -> None:
    """Filter the system calls of this process and its descendants. Needs "no new privileges".

    Args:
        allow_memfd: Whether files without a name may be made; CUDA needs them.
        allow_metadata: Whether permissions and times of files may be set; not where others' files are in sight.
        allow_tcp: Whether sockets of IPv4, and those that list the interfaces, may be made; only in a network of the job's own.
    """
    allowed = {*(("memfd_create",) if allow_memfd else ()), *(_TCP if allow_tcp else ())}
    denied = {name: pair for name, pair in _DENIED.items() if name not in allowed}
    program = _program(denied if allow_metadata else {**denied, **_METADATA})
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer))
    syscall(number(317, 277), _SET_MODE_FILTER, 0, ctypes.create_string_buffer(header, len(header)))


_Instruction = tuple[int, int, int, int]


def _program(denied: Mapping[str, tuple[int | None, int | None]]) -> list[_Instruction]:
    """Classic BPF over `struct seccomp_data`: little-endian, so an argument's low word comes first."""
    arm = platform.machine() == "aarch64"
    # a job may abort itself, but by no other signal: so died, it would be the host's fault
    own_abort = [*_only_if_equal(0, os.getpid()), *_only_if_equal(1, signal.SIGABRT)]
    own_thread_abort = [*_only_if_equal(0, os.getpid()), *_only_if_equal(2, signal.SIGABRT)]
    program = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, _MACHINE[platform.machine()]),
        _return(_KILL),  # another architecture's calls would have other numbers
        (_LOAD, 0, 0, _NR),
        (_AT_LEAST, 0, 1, _X32_BIT),
        _return(_ERRNO | _ENOSYS),
        *_for_call(number(435, 435), [_return(_ERRNO | _ENOSYS)]),  # clone3 hides its flags; libc falls back to clone
        *_for_call(number(437, 437), [_return(_ERRNO | _ENOSYS)]),  # openat2 too; libc calls openat
        *_for_call(number(56, 220), _unless_bits(0, _NAMESPACE_FLAGS)),
        *_for_call(number(257, 56), _if_bits(2, _O_CREATE, _unless_bits(3, _SET_ID))),  # openat
        *_for_call(number(268, 53), _unless_bits(2, _SET_ID)),  # fchmodat
        *_for_call(number(452, 452), _unless_bits(2, _SET_ID)),  # fchmodat2
        *_for_call(number(91, 52), _unless_bits(1, _SET_ID)),  # fchmod
        *(step for value in _IOCTLS for step in _for_call(number(16, 29), _unless_equal(1, value))),
        *(step for value in _FCNTLS for step in _for_call(number(72, 25), _unless_equal(1, value))),
        *_for_call(number(157, 167), _unless_equal(0, PR_SET_PDEATHSIG)),  # prctl
        *_for_call(number(302, 261), [*_only_if_zero(0), *_only_if_zero(2)]),  # prlimit64: its own limits, to read them
        *_for_call(number(203, 122), _only_if_zero(0)),  # sched_setaffinity
        *_for_call(number(53, 199), [*_only_if_equal(0, socket.AF_UNIX), *_unless_bits(1, _NO_STREAM)]),  # socketpair
        *_for_call(number(62, 129), own_abort),  # kill
        *_for_call(number(234, 131), own_thread_abort),  # tgkill
    ]
    if "socket" not in denied:
        program += _for_call(number(*_pair("socket")), _own_network())
    if not arm:  # where these are calls of their own
        program += _for_call(2, _if_bits(1, _O_CREATE, _unless_bits(2, _SET_ID)))  # open
        program += _for_call(85, _unless_bits(1, _SET_ID))  # creat
        program += _for_call(90, _unless_bits(1, _SET_ID))  # chmod
    for pair in denied.values():
        n = pair[arm]
        if n is not None:
            program += [(_EQUAL, 0, 1, n), _return(_ERRNO | _EPERM)]
    return [*program, _return(_ALLOW)]


def _pair(name: str) -> tuple[int, int]:
    x86, arm = _DENIED[name]
    assert x86 is not None and arm is not None
    return x86, arm


def _own_network() -> list[_Instruction]:
    """Of `socket`: IPv4, and of netlink the protocol that lists interfaces."""
    deny = _return(_ERRNO | _EPERM)
    return [
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 5, 0, socket.AF_INET),
        (_EQUAL, 1, 0, socket.AF_NETLINK),
        deny,
        (_LOAD, 0, 0, _FIRST_ARGUMENT + 16),
        (_EQUAL, 1, 0, socket.NETLINK_ROUTE),
        deny,
    ]


def _return(action: int) -> _Instruction:
    return (_RETURN, 0, 0, action)


def _for_call(n: int, body: list[_Instruction]) -> list[_Instruction]:
    """Run `body` for one call only; it may fall through, so it ends by loading the number again."""
    body = [*body, (_LOAD, 0, 0, _NR)]
    return [(_EQUAL, 0, len(body), n), *body]


def _if_bits(argument: int, mask: int, body: list[_Instruction]) -> list[_Instruction]:
    return [(_LOAD, 0, 0, _FIRST_ARGUMENT + 8 * argument), (_ANY_BIT, 0, len(body), mask), *body]


def _unless_bits(argument: int, mask: int) -> list[_Instruction]:
    return [(_LOAD, 0, 0, _FIRST_ARGUMENT + 8 * argument), (_ANY_BIT, 0, 1, mask), _return(_ERRNO | _EPERM)]


def _unless_equal(argument: int, value: int) -> list[_Instruction]:
    return [(_LOAD, 0, 0, _FIRST_ARGUMENT + 8 * argument), (_EQUAL, 0, 1, value), _return(_ERRNO | _EPERM)]


def _only_if_equal(argument: int, value: int) -> list[_Instruction]:
    return [(_LOAD, 0, 0, _FIRST_ARGUMENT + 8 * argument), (_EQUAL, 1, 0, value), _return(_ERRNO | _EPERM)]


def _only_if_zero(argument: int) -> list[_Instruction]:
    """Both words of an argument, which may be a pointer."""
    low = _FIRST_ARGUMENT + 8 * argument
    return [
        step for word in (low, low + 4) for step in ((_LOAD, 0, 0, word), (_EQUAL, 1, 0, 0), _return(_ERRNO | _EPERM))
    ]
