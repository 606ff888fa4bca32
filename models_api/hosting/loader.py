"""The loading of all models: in the background, and before a server forks its workers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from models_api.fork import flush_output
from models_api.hosting.hosted_model import LOADING_THREAD, HostedModel
from models_api.logs import SafeLogger
from models_api.threads import cleaned_up

logger = SafeLogger(__name__)


class ModelLoader:
    """Loads the models of a service, each once. Its methods may be called from any thread."""

    def __init__(self, models: Callable[[], Sequence[HostedModel]]) -> None:
        """Make it.

        Args:
            models: Returns those of the service, which may be others later.
        """
        self._models = models
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._follows_forks = False
        self.before_loading: list[Callable[[], object]] = []
        """Called before models are loaded in the background, and so quick."""
        self.after_each: list[Callable[[], object]] = []
        """Called when a model has been loaded, well or not; on the same thread."""
        self.after_loading: list[Callable[[], object]] = []
        """Called on whichever thread has loaded all models, well or not."""
        self.before_exit: list[Callable[[], object]] = []
        """Called where a signal ends the process at once, while it waits to fork."""

    @property
    def has_begun(self) -> bool:
        """Whether the models are being loaded in the background, or have been."""
        return self._thread is not None

    @property
    def has_ended(self) -> bool:
        """Whether the loading of every model has ended, or waits for another service alone."""
        return all(model.has_ended or model.is_waiting for model in self._models())

    def load(self) -> None:
        """Load every model: first those without a name before, then those without schemas."""
        # They wait, and no longer together than alone.
        for model in self._models():
            if model.configuration.is_remote:
                work = cleaned_up(model.load)
                threading.Thread(target=work, name=LOADING_THREAD, daemon=True).start()
        for model in sorted(self._models(), key=_knowledge):
            model.load()
            for call in self.after_each:
                call()
        for call in self.after_loading:
            call()

    def start(self) -> None:
        """Begin to load every model in a thread, unless that was done before; returns at once.

        A process whose main thread forks meanwhile waits for the loading to end, because the thread
        would be missing in the child. So a server that loads the application before it forks its
        workers (gunicorn's `preload_app`) shares the loaded models among them.
        """
        with self._lock:
            if self._thread is not None:
                return
            for call in self.before_loading:
                call()
            for model in self._models():
                model.load_in_background()
            self._thread = threading.Thread(
                target=cleaned_up(self.load), name=LOADING_THREAD, daemon=True
            )
            if not self._follows_forks and hasattr(os, "register_at_fork"):
                os.register_at_fork(
                    before=self._finish_before_fork, after_in_child=self._forget_unfinished_load
                )
                self._follows_forks = True
            self._thread.start()

    def _finish_before_fork(self) -> None:
        # Servers fork on their main thread. A model that forks while it loads, on whatever thread,
        # must not wait for itself.
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and self._thread is not None and self._thread.is_alive():
            with self._exit_on_signals():
                self._thread.join()
        # Children would write again what models have printed and is still in a buffer.
        flush_output()

    @contextmanager
    def _exit_on_signals(self) -> Iterator[None]:
        """End the process at once on a signal to stop, which a server would only note for later."""

        def stop(number: int, _frame: object) -> None:
            name = signal.Signals(number).name
            logger.warning("Stopped by %s before all models were loaded", name)
            for call in self.before_exit:
                call()
            os._exit(128 + number)

        numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
        handlers = {number: signal.getsignal(number) for number in numbers}
        replaced = {number: handler for number, handler in handlers.items() if callable(handler)}
        for number in replaced:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in replaced.items():
                signal.signal(number, handler)

    def _forget_unfinished_load(self) -> None:
        # The next request starts it again.
        if not all(model.has_ended for model in self._models()):
            self._lock = threading.Lock()
            self._thread = None
            for model in self._models():
                model.forget_unfinished_load()


def _knowledge(model: HostedModel) -> tuple[bool, bool]:
    return model.known_name is not None, model.is_described
