"""`listen.py NETNS ADDRESS PORT COMMAND…`: makes a listening socket in another network namespace, then becomes COMMAND.

The socket is file descriptor 3 of COMMAND.

Run by path, with the standard library only: the daemon it becomes has its own environment, and this file must not need it.
"""

import ctypes
import os
import socket
import sys

CLONE_NEWNET = 0x40000000  # <linux/sched.h>
HANDED_OVER = 3  # first number after the standard streams, as socket activation has it
_BACKLOG = 512


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is there only from Python 3.12 on
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def listen_in(namespace_file: str, address: str, port: int) -> socket.socket:
    """A listening socket that belongs to the namespace; the process is back in its own afterwards. Raises OSError."""
    own, other = (os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in ("/proc/self/ns/net", namespace_file))
    _enter(other)
    try:
        return socket.create_server((address, port), backlog=_BACKLOG)
    finally:
        _enter(own)


def main() -> None:
    namespace_file, address, port, *command = sys.argv[1:]
    listener = listen_in(namespace_file, address, int(port))
    os.dup2(listener.fileno(), HANDED_OVER, inheritable=True)
    os.execvp(command[0], command)  # noqa: S606 (becoming the command, without a shell, is what this is for)


if __name__ == "__main__":
    main()
