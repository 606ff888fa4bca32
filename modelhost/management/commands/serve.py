"""The command `serve`: granian, with the models loaded before its workers are forked."""

from __future__ import annotations

import logging
import multiprocessing
import socket
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from modelhost.environment import flag, number, split_address, text
from modelhost.server.configuration import CANNOT_START, is_right, reread_configuration
from modelhost.server.ends import run_exit_handlers
from modelhost.server.metrics import begin_server, end_server, forget_ended_workers, open_server
from modelhost.server.posix import lack_of_posix
from modelhost.server.workers import DEFAULT_THREADS, prepare_worker
from models_api.cpus import available_cpus
from models_api.logs import SafeLogger, guard

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_CONNECTIONS = 1000
"""That a worker keeps open at a time, as gunicorn's does; others wait until it accepts them."""
_CONNECTIONS_TO_ACCEPT = 2048
_HEAD_BYTES = 128 * 1024
"""About so long may the head of a request be, and each connection takes no more memory for it."""
_IDLE_MILLISECONDS = 75_000
"""Longer than the idle timeout of common load balancers, so that it is they who close."""

logger = SafeLogger("modelhost.serve")


class Command(BaseCommand):
    """Serves with granian, the fastest of the servers that this service runs under."""

    help = (
        "Serve the models that the configuration lists (rest_config.yaml, or the file that "
        "REST_CONFIG names). They are loaded once, and the worker processes share their memory. "
        "Ctrl-C and SIGTERM let requests under way end, then the server. MODELHOST_BIND, "
        "MODELHOST_WORKERS and MODELHOST_THREADS set the defaults of the options."
    )
    # The application itself says all that is wrong with the configuration.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options; environment variables set their defaults."""
        host, port = _default_address()
        workers = number("WORKERS", available_cpus())
        threads = number("THREADS", DEFAULT_THREADS)
        options: list[tuple[str, object, Callable[[str], object], str]] = [
            ("host", host, str, "listen at this address; 0.0.0.0 is any"),
            ("port", port, _port, "listen at this port; 0 is any that is free"),
            ("workers", workers, _count, "run that many processes"),
            ("threads", threads, _count, "handle that many requests at a time in each process"),
        ]
        for name, default, kind, description in options:
            parser.add_argument(
                f"--{name}",
                type=kind,
                default=str(default),  # so that it is checked as well
                help=f"{description} (default: {default})",
            )

    def handle(self, *args: Any, **options: Any) -> None:
        """Load the models, fork the workers, and serve until told to stop."""
        lack = lack_of_posix("`serve`")
        if lack is not None:
            raise CommandError(lack)
        host, workers, threads = options["host"], options["workers"], options["threads"]
        address, port = _free_address(host, options["port"])
        begin_server()
        open_server()
        # What is loaded here is shared only with processes that are forked from this one.
        multiprocessing.set_start_method("fork", force=True)
        if flag("PRELOAD", default=True):
            import modelhost.wsgi  # noqa: F401, PLC0415 (begins to load the models)
        elif not is_right():
            sys.exit(CANNOT_START)
        logging.getLogger("_granian").addFilter(_concerns_the_user)
        for name in ("_granian", "_granian.serve"):
            # A model that is being loaded may have added a handler that nobody has made safe yet.
            guard(logging.getLogger(name))
        server = _server(address, port, workers, threads)
        server.on_startup(partial(_announce, host, port, workers, threads))
        if not flag("PRELOAD", default=True):
            server.on_reload(reread_configuration)
        server.on_shutdown(end_server)
        started = multiprocessing.Value("i")
        server.serve(target_loader=partial(_start_worker, threads, started), wrap_loader=False)


def _default_address() -> tuple[str, int]:
    bind = text("BIND", "127.0.0.1:8000")
    address = split_address(bind)
    if address is None:
        raise ImproperlyConfigured(
            f"MODELHOST_BIND is {bind!r}; `serve` listens at one address and port, such as "
            "127.0.0.1:8000."
        )
    host, port = address
    return host or "0.0.0.0", port  # noqa: S104


def _port(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and int(value) < 65536):
        raise ArgumentTypeError(f"{value!r} is no port; write a number from 0 to 65535")
    return int(value)


def _count(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and int(value) > 0):
        raise ArgumentTypeError(f"{value!r} is no number of them; write 1 or more")
    return int(value)


def _free_address(host: str, port: int) -> tuple[str, int]:
    """Return the numeric address and the port to listen at, both of them tried.

    Raises:
        CommandError: there is no such address, or somebody else listens at the port. Granian would
            share it with them.
    """
    try:
        family, _, _, _, address = min(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            numeric, free, *_ = trial.getsockname()
    except OSError as error:
        raise CommandError(
            f"Cannot listen at {host}, port {port}: {error.strerror}. "
            "Choose others with --host and --port, or by MODELHOST_BIND."
        ) from None
    return numeric, free


def _server(address: str, port: int, workers: int, threads: int) -> MPServer:
    return MPServer(
        "modelhost.wsgi:application",
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=_IDLE_MILLISECONDS, max_buffer_size=_HEAD_BYTES
        ),
        websockets=False,
        workers=workers,
        blocking_threads=threads,
        backlog=_CONNECTIONS_TO_ACCEPT,
        backpressure=_CONNECTIONS,
        respawn_failed_workers=True,
        workers_kill_timeout=max(1, number("GRACEFUL_TIMEOUT_SECONDS", 30)),
        # Leave the service's logging as it is, and to it what is logged.
        log_dictconfig={"incremental": True, "handlers": {}, "loggers": {}},
        log_level=LogLevels.notset,
    )


def _concerns_the_user(record: logging.LogRecord) -> bool:
    """Leave out granian's advice on the number of threads, for they wait more than they compute."""
    return not str(record.msg).startswith("Configuration allows spawning up to")


def _announce(host: str, port: int, workers: int, threads: int) -> None:
    """Log where the service is going to be; called before the first worker is forked."""
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    logger.info(
        "Loading the models; then %d workers of %d threads serve at %s. Its documentation page is "
        "%s/docs.",
        workers,
        threads,
        url,
        url,
    )


def _start_worker(threads: int, started: Synchronized[int]) -> WSGIApplication:
    """Return the application, in a worker that is ready for its first request."""
    from modelhost.wsgi import application  # noqa: PLC0415 (may begin to load the models)

    with started.get_lock():
        index = started.value
        started.value += 1
    prepare_worker(threads, index)
    forget_ended_workers()
    # A process of multiprocessing leaves them out; traces are sent and logs are flushed by some.
    Finalize(None, run_exit_handlers, exitpriority=0)
    return application
