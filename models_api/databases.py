"""Closes Django's database connections wherever code of models has run, as Django does in views."""

from __future__ import annotations

import threading
from collections.abc import Callable

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import close_old_connections, connections
from django.db.backends.signals import connection_created

from models_api.fork import call_after_fork
from models_api.logs import SafeLogger
from models_api.threads import Cleanup

logger = SafeLogger(__name__)


class DatabaseCleanup(Cleanup):
    """Closes those that are unusable, or older than CONN_MAX_AGE, once any has been opened."""

    def __init__(self) -> None:
        self._has_used_databases = False
        self._has_shared_connections = False
        """Whether any was opened on the thread that asgiref keeps for coroutines."""
        self._begin()
        call_after_fork(self._begin)
        connection_created.connect(self._note_connection)

    def between_requests(self) -> None:
        """Close old connections of this thread."""
        if self._has_used_databases:
            _safely(close_old_connections)

    def at_the_end(self) -> None:
        """Close all connections of this thread."""
        if self._has_used_databases:
            _safely(connections.close_all)

    async def before_coroutine(self) -> None:
        """Close old connections of asgiref's thread.

        All coroutines share it, so that its connections are those of others, too, while any other
        is under way.
        """
        # Its caller's, under ASGI, is that of a thread which waits for this coroutine.
        SyncToAsync.thread_sensitive_context.set(None)  # type: ignore[arg-type]
        await self._close_shared()
        self._count(1)

    async def after_coroutine(self) -> None:
        """Do so once more, and close those that it has opened itself.

        That is with DJANGO_ALLOW_ASYNC_UNSAFE alone; nobody else has them.
        """
        self.at_the_end()
        self._count(-1)
        await self._close_shared()

    async def _close_shared(self) -> None:
        if not self._has_shared_connections:
            return
        try:
            await sync_to_async(self._close_unless_shared)()
        except RuntimeError:  # the caller holds that thread
            logger.debug("Database connections stay open", exc_info=True)

    def _close_unless_shared(self) -> None:
        _safely(_close_broken_connections if self._coroutines else close_old_connections)

    def _count(self, change: int) -> None:
        with self._lock:
            self._coroutines += change

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._coroutines = 0
        """Those of models that are under way in this process."""

    def _note_connection(self, **_connection: object) -> None:
        self._has_used_databases = True
        if threading.current_thread() in SyncToAsync.single_thread_executor._threads:
            self._has_shared_connections = True


def _close_broken_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred and not connection.is_usable():
            connection.close()


def _safely(close: Callable[[], None]) -> None:
    try:
        close()
    except Exception:
        logger.exception("Database connections cannot be closed")
