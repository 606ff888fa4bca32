"""Gunicorn's settings for serving models.

Use it as `gunicorn -c python:modelhost.gunicorn_conf modelhost.wsgi`.

Threads, because a prediction waits for others in its batch and much of numpy runs without the GIL;
workers, as many as there are processors, because the rest of Python does not. The application is
loaded before the fork, so that workers share the memory of the models' weights.

MODELHOST_BIND, MODELHOST_WORKERS, MODELHOST_THREADS, MODELHOST_TIMEOUT_SECONDS,
MODELHOST_GRACEFUL_TIMEOUT_SECONDS, MODELHOST_CLIENT_TIMEOUT_SECONDS, MODELHOST_PRELOAD and
MODELHOST_CPU_AFFINITY override what is set here, and arguments of the command line override both.

Clients that send or read slowly hold no thread (modelhost.buffering_worker), no connection is lost
when workers come and go (modelhost.listeners), and SIGHUP reads everything anew (modelhost.reload).
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

from modelhost.environment import flag, number, text
from modelhost.lanes import limit_predictions
from modelhost.listeners import assign, share_out
from modelhost.reload import handle_signals, prepare, relieve, take_over
from modelhost.server.cpus import available_cpus
from modelhost.server.metrics import begin_server, begin_worker, end_server, forget_worker

bind = text("BIND", "127.0.0.1:8000")
workers = number("WORKERS", available_cpus())
worker_class = "modelhost.buffering_worker.BufferingWorker"
threads = number("THREADS", 16)
preload_app = flag("PRELOAD", default=True)
timeout = number("TIMEOUT_SECONDS", 60)
graceful_timeout = number("GRACEFUL_TIMEOUT_SECONDS", 30)
# Longer than the idle timeout of common load balancers, so that it is they who close connections.
keepalive = 75
# The heartbeat of a worker must not wait for a disk.
if os.access("/dev/shm", os.W_OK):  # noqa: S108
    worker_tmp_dir = "/dev/shm"  # noqa: S108
# Gunicorn believes whoever comes from this machine that a request had TLS, unless told not to.
# MODELHOST_TRUST_PROXY_TLS says whether to believe it.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "")
control_socket_disable = True
logger_class = "modelhost.server.gunicorn_logger.GunicornLogger"


def on_starting(server: Any) -> None:
    """Make the sockets, or take over those of a former self; see to the signals."""
    take_over(server)
    share_out(server)
    handle_signals(server)


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker its sockets, and say whom it relieves."""
    assign(server, worker)
    prepare(server, worker)


def when_ready(_server: Any) -> None:
    """Hide what was loaded before the fork from the garbage collector.

    It writes to each object that it looks at, and a worker that writes to shared memory gets a
    copy of its own: 57 MB for the modules of scikit-learn alone, against 22 MB without.
    """
    gc.collect()
    gc.freeze()


def post_worker_init(worker: Any) -> None:
    """Count the worker, bound what it takes on, let it relieve another, and pin it if wanted."""
    # For so long a thread may keep the interpreter from others, such as the main loop, which asks
    # for it once for each client. Python's own 5 ms are more than most requests take.
    sys.setswitchinterval(0.001)
    begin_worker()
    limit_predictions(worker)
    relieve(worker)
    if flag("CPU_AFFINITY", default=False):
        _keep_on_one_processor(worker)


def child_exit(_server: Any, worker: Any) -> None:
    """Forget what a worker that has ended told of its state."""
    forget_worker(worker.pid)


def on_exit(_server: Any) -> None:
    """Remove what the workers shared."""
    end_server()


def _keep_on_one_processor(worker: Any) -> None:
    """Keep the worker, with all its threads, on one processor.

    Its threads then pass the GIL on without crossing to another processor. Right only where nothing
    else runs on these processors, so it is off unless asked for.
    """
    cpus = sorted(os.sched_getaffinity(0))
    mine = {cpus[worker.age % len(cpus)]}
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), mine)


begin_server()
