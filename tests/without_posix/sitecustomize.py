"""Takes away, at the start of a process, what Windows does not have.

In a folder that a test puts on PYTHONPATH; TAKEN_AWAY names what goes, or `all` of it.
"""

import asyncio  # noqa: F401 (has another implementation for Windows, which is not here)
import os
import signal
import subprocess  # noqa: F401 (likewise)
import sys

MODULES = {"fcntl", "grp", "pwd", "resource", "termios"}
OS = {
    *("fork", "forkpty", "register_at_fork", "posix_fallocate", "sysconf", "killpg", "setsid"),
    *("getuid", "geteuid", "getgid", "getegid", "chown", "fchmod", "mkfifo", "pread", "pwrite"),
    *("sched_getaffinity", "sched_setaffinity", "sched_yield", "nice", "statvfs"),
    *("O_NOFOLLOW", "O_CLOEXEC", "O_DIRECTORY", "O_NONBLOCK"),
}
SIGNALS = {
    *("SIGHUP", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGPIPE"),
    *("pthread_sigmask", "pthread_kill", "setitimer", "alarm", "pause", "sigwait"),
}

wanted = set(os.environ.get("TAKEN_AWAY", "").split())
everything = MODULES | OS | SIGNALS
for name in everything if "all" in wanted else wanted:
    if name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for module in (os, signal):
        if hasattr(module, name):
            delattr(module, name)
