"""Gunicorn's settings for serving models.

Use it as `gunicorn -c python:modelhost.gunicorn_conf modelhost.wsgi`.

Threads, because a prediction waits for others in its batch and much of numpy runs without the GIL;
workers, as many as there are processors, because the rest of Python does not. The application is
loaded before the fork, so that workers share the memory of the models' weights.

MODELHOST_BIND, MODELHOST_WORKERS, MODELHOST_THREADS, MODELHOST_TIMEOUT_SECONDS,
MODELHOST_GRACEFUL_TIMEOUT_SECONDS, MODELHOST_PRELOAD and MODELHOST_CPU_AFFINITY override what is
set here, and arguments of the command line override both.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

from modelhost.cpus import available_cpus
from modelhost.environment import flag, number, text

bind = text("BIND", "127.0.0.1:8000")
workers = number("WORKERS", available_cpus())
worker_class = "gthread"
threads = number("THREADS", 16)
# A worker of its own socket each: with a shared one, one worker may accept all connections.
reuse_port = workers > 1
preload_app = flag("PRELOAD", default=True)
timeout = number("TIMEOUT_SECONDS", 60)
graceful_timeout = number("GRACEFUL_TIMEOUT_SECONDS", 30)
# Longer than the idle timeout of common load balancers, so that it is they who close connections.
keepalive = 75
# The heartbeat of a worker must not wait for a disk.
if Path("/dev/shm").is_dir():  # noqa: S108
    worker_tmp_dir = "/dev/shm"  # noqa: S108
control_socket_disable = True
logger_class = "modelhost.gunicorn_logger.GunicornLogger"


def when_ready(_server: Any) -> None:
    """Hide what was loaded before the fork from the garbage collector.

    It writes to each object that it looks at, and a worker that writes to shared memory gets a
    copy of its own: 57 MB for the modules of scikit-learn alone, against 22 MB without.
    """
    gc.collect()
    gc.freeze()


if flag("CPU_AFFINITY", default=False):

    def post_worker_init(worker: Any) -> None:
        """Keep the worker, with all its threads, on one processor.

        Its threads then pass the GIL on without crossing to another processor. Right only where
        nothing else runs on these processors, so it is off unless asked for.
        """
        cpus = sorted(os.sched_getaffinity(0))
        mine = {cpus[worker.age % len(cpus)]}
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), mine)
