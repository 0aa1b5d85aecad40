"""Runs what a person starts by ``exec`` under the limits of everything that the launcher starts: one file, standard library only.

The container runtime starts an exec'd command beside the launcher, with the container's own limits: the number of processes is
bounded by the node at best. So the command comes here first: ``python3 -I -S enter.py COMMAND [ARGUMENT…]``.

Environment: SANDBOX_NPROC (RLIMIT_NPROC), SANDBOX_NOFILE (RLIMIT_NOFILE), SANDBOX_NO_NEW_PRIVS=1; SANDBOX_WORKSPACE
(/workspace) is where the command begins, as the app does. Exit codes of its own are the shell's: 127 when there is no such
program, 126 when it cannot be run.
"""

import os
import resource
import sys

PR_SET_NO_NEW_PRIVS = 38


def main(command: list[str], environ: dict[str, str]) -> int:
    """Returns only when the command could not be run."""
    if not command:
        print("exec: no command", file=sys.stderr)
        return 126
    try:
        if nproc := int(environ.get("SANDBOX_NPROC", "0")):
            resource.setrlimit(resource.RLIMIT_NPROC, (nproc, nproc))
        if open_files := int(environ.get("SANDBOX_NOFILE", "0")):
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            open_files = open_files if hard == resource.RLIM_INFINITY else min(open_files, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if environ.get("SANDBOX_NO_NEW_PRIVS") == "1" and not has_no_new_privs():
            set_no_new_privs()
        os.chdir(environ.get("SANDBOX_WORKSPACE", "/workspace"))
        os.execvpe(command[0], command, environ)  # noqa: S606 - to run the given command is the purpose
    except (OSError, ValueError) as error:
        print(f"exec: {command[0]}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126


def has_no_new_privs() -> bool:
    """What the container's security context has set already; asking costs nothing, setting costs 10 ms for ctypes."""
    try:
        with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - pathlib costs 10 ms of every command
            return b"\nNoNewPrivs:\t1\n" in status.read()
    except OSError:
        return False


def set_no_new_privs() -> None:
    import ctypes  # noqa: PLC0415 - see above

    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ)))
