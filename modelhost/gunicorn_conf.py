"""Gunicorn's settings for serving models.

Use it as `gunicorn -c python:modelhost.gunicorn_conf modelhost.wsgi`.

Threads, because a prediction waits for others in its batch and much of numpy runs without the GIL;
workers, as many as there are processors, because the rest of Python does not. The application is
loaded before the fork, so that workers share the memory of the models' weights.

MODELHOST_BIND, MODELHOST_WORKERS, MODELHOST_THREADS, MODELHOST_TIMEOUT_SECONDS,
MODELHOST_GRACEFUL_TIMEOUT_SECONDS, MODELHOST_PRELOAD and MODELHOST_CPU_AFFINITY override what is
set here, and arguments of the command line override both.

A thread reads its client's request and writes the answer, so clients that do either slowly are
kept away by a proxy in front.
"""

from __future__ import annotations

import gc
import mmap
import os
import sys
from typing import TYPE_CHECKING

from gunicorn.errors import HaltServer

from modelhost.environment import flag, number, text
from modelhost.server.ends import end_without_native_handlers
from modelhost.server.metrics import begin_server, end_server, forget_worker, open_server
from modelhost.server.posix import lack_of_posix
from modelhost.server.workers import DEFAULT_THREADS, prepare_worker
from models_api.cpus import available_cpus

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

if _lack := lack_of_posix("modelhost.gunicorn_conf"):
    sys.exit(_lack)

bind = text("BIND", "127.0.0.1:8000")
workers = number("WORKERS", available_cpus())
worker_class = "gthread"
threads = number("THREADS", DEFAULT_THREADS)
preload_app = flag("PRELOAD", default=True)
timeout = number("TIMEOUT_SECONDS", 60)
graceful_timeout = number("GRACEFUL_TIMEOUT_SECONDS", 30)
# As long as nginx passes on, so that it is nginx who refuses longer ones, in JSON: 8192 bytes, but
# that gunicorn does not count the end of the first line.
limit_request_line = 8190
limit_request_field_size = 8192
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

_CANNOT_START = 3
"""Exit status of a server whose workers cannot start, the same as gunicorn's own."""
_NO_STATUS = -1
"""No process ends with it."""
_has_failed = mmap.mmap(-1, 1)
"""Whether a worker could not start; shared with the workers, which are forked."""


def on_starting(server: Arbiter) -> None:
    """Make what the workers share, and read what they serve, unless they are loaded already.

    It is left to them to say that they cannot start. Gunicorn takes two exit statuses for that, and
    code of a model may end its process with any.
    """
    server.WORKER_BOOT_ERROR = server.APP_LOAD_ERROR = _NO_STATUS
    open_server(server.cfg.uid, server.cfg.gid)
    if _reads_for_workers(server):
        from modelhost.server.configuration import read_configuration  # noqa: PLC0415

        read_configuration()


def on_reload(server: Arbiter) -> None:
    """Read anew what the workers serve; a file with problems changes nothing."""
    if _reads_for_workers(server):
        from modelhost.server.configuration import reread_configuration  # noqa: PLC0415

        reread_configuration()


def _reads_for_workers(server: Arbiter) -> bool:
    # Another application has settings of its own, and sets Django up with them.
    served = str(getattr(server.app, "app_uri", "")).partition(":")[0]
    return served == "modelhost.wsgi" and not server.cfg.preload_app


def worker_exit(_server: Arbiter, worker: Worker) -> None:
    """Say, in the worker, that it could not start, unless it was told to stop meanwhile."""
    end_without_native_handlers()
    if worker.alive and not worker.booted:
        _has_failed[0] = 1


def when_ready(_server: Arbiter) -> None:
    """Hide what was loaded before the fork from the garbage collector.

    It writes to each object that it looks at, and a worker that writes to shared memory gets a
    copy of its own: 57 MB for the modules of scikit-learn alone, against 22 MB without.
    """
    gc.collect()
    gc.freeze()


def post_worker_init(worker: Worker) -> None:
    """Count the worker, bound its predictions, and pin it if wanted."""
    prepare_worker(worker.cfg.threads, worker.age - 1)


def child_exit(server: Arbiter, worker: Worker) -> None:
    """Forget what a worker that has ended told of its state; stop if it could not start."""
    forget_worker(worker.pid)
    if _has_failed[0] and server.LISTENERS:  # none are left while it stops
        raise HaltServer("Worker failed to boot.", _CANNOT_START)


def on_exit(_server: Arbiter) -> None:
    """Remove what the workers shared."""
    end_server()


begin_server()
