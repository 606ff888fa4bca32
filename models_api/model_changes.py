"""A model that is unloaded, or loaded again, in all workers because somebody asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from models_api.exceptions import ModelNotReady
from models_api.hosting.hosted_model import RETRY_AFTER_SECONDS, ModelState
from models_api.observability.reload_folder import ReloadFolder, Request
from models_api.reload_thread import ReloadThread

_SECONDS = 300.0
"""For which it is waited until all workers have done it; then they go on without."""
_LOADED = (ModelState.READY, ModelState.UNHEALTHY)


class ModelChanges:
    """Asks all workers of this server, and waits for them. May be used from many threads."""

    def __init__(self, thread: ReloadThread) -> None:
        """Make it; `thread` is what follows changes in this process."""
        self._thread = thread

    def load(self, qualified_name: str) -> None:
        """Have all versions of a model loaded, anew where something of them has changed.

        Whatever else the configuration file says by now is taken, too.

        Raises:
            ModelNotReady: that was not done; says why.
        """
        folder = self._folder(qualified_name)
        with folder.alone():
            known, unloaded = self._in_force(folder)
            content = known
            with suppress(OSError):
                content = self._thread.path.read_bytes()
            only = qualified_name if content == known else ""
            request = folder.ask(content, unloaded=unloaded - {qualified_name}, only=only)
            workers = _wait(folder, request, only)
        _check(qualified_name, workers, _LOADED)

    def unload(self, qualified_name: str) -> None:
        """Have no version of a model take requests; those that they have end first.

        Raises:
            ModelNotReady: that was not done; says why.
        """
        folder = self._folder(qualified_name)
        with folder.alone():
            content, unloaded = self._in_force(folder)
            unloaded |= {qualified_name}
            request = folder.ask(content, unloaded=unloaded, only=qualified_name)
            workers = _wait(folder, request, qualified_name)
        _check(qualified_name, workers, [ModelState.UNLOADED])

    def _in_force(self, folder: ReloadFolder) -> tuple[bytes, frozenset[str]]:
        """Return the content of the file that the workers host, and what of it is not loaded."""
        request = folder.in_force()
        if request is None:
            return self._thread.content, frozenset()
        return request.file, frozenset(request.unloaded)

    def _folder(self, qualified_name: str) -> ReloadFolder:
        self._thread.catch_up(_SECONDS)
        if self._thread.folder is None:
            message = (
                "Models cannot be loaded and unloaded here: the workers of this server have no "
                "folder in which they meet. Its log says why."
            )
            raise ModelNotReady(qualified_name, message, retry_after_seconds=None)
        return self._thread.folder


def _wait(
    folder: ReloadFolder, request: Request, qualified_name: str
) -> Sequence[Mapping[str, Any]]:
    try:
        return folder.wait(request, _SECONDS)
    except TimeoutError as error:
        again = RETRY_AFTER_SECONDS
        raise ModelNotReady(qualified_name, str(error), retry_after_seconds=again) from None


def _check(
    qualified_name: str, workers: Sequence[Mapping[str, Any]], wanted: Sequence[ModelState]
) -> None:
    """Raise unless all workers have done it, and no other change has overtaken it.

    Raises:
        ModelNotReady: says in which worker the model is otherwise, and why.
    """
    for worker in workers:
        if worker["outcome"] == "refused":
            message = f"The models stay as they were: {worker['reason']}"
            raise ModelNotReady(qualified_name, message, retry_after_seconds=None)
        for model in worker["models"]:
            if model["name"] == qualified_name and model["state"] not in wanted:
                reason = f": {model['reason']}" if model["reason"] else ""
                message = f"The model {qualified_name} is {model['state']}{reason}"
                raise ModelNotReady(qualified_name, message, retry_after_seconds=None)
