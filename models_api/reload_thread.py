"""The thread of a worker that follows changes of the configuration file, where that is asked for.

There is no thread without the section `reload`. It is started by whatever tells that a process
serves: the first of the server does not, which may have loaded the models for others to inherit.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from models_api.configuration.file import ConfigurationFile, fingerprint_of
from models_api.configuration.sections import ModelConfiguration, ReloadConfiguration
from models_api.fork import call_after_fork
from models_api.hosting.generation import Generation
from models_api.hosting.registry import LastReload, ModelRegistry
from models_api.hosting.reload import Reloader, ReloadRefused, Wish
from models_api.logs import SafeLogger
from models_api.observability.reload_folder import Refusal, ReloadFolder, Request
from models_api.threads import cleaned_up

logger = SafeLogger(__name__)

THREAD = "reload"
_PAUSE_SECONDS = 0.1
_SHORTEST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
"""After which requests of commands are heard, however seldom the files are looked at."""
_DRAIN_SECONDS = 5.0
"""For which the next worker waits until the models of this one that left have ended."""
_SECONDS_UNTIL_WRITTEN = 0.5
"""A file that is younger may be half of what it will be."""
_LONGEST_RETRY_SECONDS = 30.0
"""After which is tried again what may succeed with the same file."""
_FAILURES = 2
"""In a row to read the file: one may be that it is just being replaced."""
_DEATHS = 2
"""Workers that may end in the midst of a reload; then it is taken for the reason."""


class _Seen(NamedTuple):
    """What a look has found."""

    content: bytes
    editions: str


class ReloadThread:
    """Follows changes in this process. `start` may be called from any thread."""

    def __init__(
        self,
        reloader: Reloader,
        registry: ModelRegistry,
        file: ConfigurationFile,
        options: ReloadConfiguration,
        folder: ReloadFolder | None,
    ) -> None:
        """Start nothing yet.

        Args:
            reloader: Does what is asked.
            registry: The models that are hosted.
            file: What the service was made from.
            options: When to look for changes.
            folder: Where the workers of this server meet; None where one process serves alone.
        """
        self._reloader = reloader
        self._registry = registry
        self._path = file.document.path
        self._options = options
        self._folder = folder
        self._content = file.document.content or b""
        """What is in force in this process."""
        self.at_start: list[Callable[[], object]] = []
        self.after_each: list[Callable[[LastReload, int], object]] = []
        """Told of each try, and of which generation is hosted now."""
        self._entries = _Entries(self._path, reloader.edition_lately)
        self._told: Mapping[str, object] = {}
        self._restart: list[str] = []
        self._complaint = ""
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._caught_up = threading.Event()
        self._seen: _Seen | None = None
        self._next_look = 0.0
        self._done = 0
        self._retry_at = math.inf
        self._retry_seconds = 1.0

    @property
    def folder(self) -> ReloadFolder | None:
        """Where the workers of this server meet; None where one process serves alone."""
        return self._folder

    @property
    def path(self) -> Path:
        """Of the configuration file."""
        return self._path

    @property
    def content(self) -> bytes:
        """What is in force in this process."""
        return self._content

    @property
    def fingerprint(self) -> str:
        """As that of a configuration file: of the content that is in force in this process."""
        return fingerprint_of(self._content)

    def start(self) -> None:
        """Begin to follow changes, unless that was done before."""
        if self._thread is not None:
            return
        with self._starting:
            if self._thread is None:
                self._registry.last_reload = LastReload()
                for call in self.at_start:
                    call()
                work = cleaned_up(self._run)
                self._thread = threading.Thread(target=work, name=THREAD, daemon=True)
                self._thread.start()

    def prepare(self) -> None:
        """Have the models be loaded as other workers host them, whatever there is by now."""
        if self._folder is not None:
            with suppress(OSError):  # the thread says so
                self._reloader.agree(self._folder.revisions())

    def catch_up(self, seconds: float) -> None:
        """Wait until this process hosts what the others do, which may have been changed before."""
        self.start()
        self._caught_up.wait(seconds)

    def _run(self) -> None:
        while True:
            try:
                self._follow()
                self._tell()
            except Exception as error:  # noqa: BLE001 (it is tried again)
                self._complain(error)
            self._caught_up.set()
            is_busy = bool(self._reloader.departures) or not self._registry.has_started
            longest = _PAUSE_SECONDS if is_busy else _LONGEST_PAUSE_SECONDS
            time.sleep(max(_SHORTEST_PAUSE_SECONDS, min(longest, self._options.interval_seconds)))

    def _complain(self, error: Exception) -> None:
        """Log an error, unless it was the last one, too; it is tried again."""
        if repr(error) != self._complaint:
            self._complaint = repr(error)
            logger.error("Changes of the models cannot be followed", exc_info=error)

    def _follow(self) -> None:
        self._reloader.departures.settle()
        if not self._registry.has_started:
            return
        if self._seen is None:
            # Of the models as they were loaded, which may have been in another process.
            self._leave_folder_if_unusable()
            editions = [model.edition for model in self._registry]
            self._seen = _Seen(self._content, _joined(editions))
            self._take_what_others_have()
            self._agree()
        if self._options.watch and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + self._options.interval_seconds
            self._look()
        request = self._folder.request() if self._folder is not None else None
        if request is not None and request.id > self._done:
            self._take(request)

    def _leave_folder_if_unusable(self) -> None:
        try:
            _ = self._folder and self._folder.path
        except OSError as error:
            logger.warning("Workers change their models each for itself: %s", error)
            self._folder = None

    def _take_what_others_have(self) -> None:
        taken = self._folder.taken() if self._folder is not None else None
        if taken is not None:
            self._take(taken)

    def _agree(self) -> None:
        """Have others take the artefacts that this process has, if it is the first to have any."""
        self._reloader.agree({})
        if self._folder is not None:
            with self._folder.turn():
                if not self._folder.revisions():
                    self._folder.agree(self._reloader.revisions())

    def _look(self) -> None:
        """Ask for what the file says, if that or a file of a model is not as it was."""
        content = self._entries.read()
        if content is None or self._seen is None:
            return
        seen, is_due = _Seen(content, self._entries.editions(content)), self._is_retry_due()
        if seen == self._seen and not is_due:
            return
        self._retry_at = math.inf
        if self._folder is None:
            self._seen = seen
            self._apply(Request(time.time_ns(), content.decode("latin-1"), seen.editions))
            return
        with self._folder.turn():
            last = self._folder.request()
            if self._entries.read() != content:
                return  # somebody may have asked for what it is now
            is_other_file, self._seen = content != self._seen.content, seen
            # Whoever asks by a command does not look at the files of the models.
            known = ("", seen.editions) if is_other_file else (seen.editions,)
            is_asked = last is not None and last.file == content and last.editions in known
            if not is_asked or is_due:
                self._folder.ask(*seen)

    def _is_retry_due(self) -> bool:
        """Whether it is time to try again what was refused for now, and nobody asked for since."""
        last = self._folder.request() if self._folder is not None else None
        is_last = last is None or last.id == self._done
        return is_last and time.monotonic() >= self._retry_at

    def _take(self, request: Request) -> None:
        assert self._folder is not None  # noqa: S101 (it is where the request was)
        with self._folder.turn():
            last, taken = self._folder.request(), self._folder.taken()
            if last is not None and last.id > request.id and taken != request:
                return  # it is not asked for any more
            refusal = self._folder.refusal(request)
            if refusal is not None:
                self._note(request, refusal.reason)
                return
            is_taken = taken is not None and taken.id == request.id
            deaths = self._folder.begin(request)
            refusal = _refusal_of_deaths(request, deaths)
            if refusal is not None:
                self._note(request, refusal.reason)
            else:
                refusal = self._apply_as_others(request, self._folder, is_taken=is_taken)
            self._folder.end(request, None if is_taken else refusal)
            self._drain()

    def _apply_as_others(
        self, request: Request, folder: ReloadFolder, *, is_taken: bool
    ) -> Refusal | None:
        """Host what is asked for, with the artefacts of a worker that has done it."""
        self._reloader.agree(folder.revisions() if is_taken else {})
        try:
            refusal = self._apply(request)
        finally:
            self._reloader.agree({})
        if refusal is None:
            folder.agree(self._reloader.revisions())
        return refusal

    def _apply(self, request: Request) -> Refusal | None:
        """Host what is asked for; return why not, where nothing was changed."""
        file = ConfigurationFile(self._path, request.file)
        refusal: Refusal | None = None
        try:
            is_other = self._reloader.apply(file, self._wish(request))
        except ReloadRefused as error:
            refusal = Refusal(request.id, self._reason(error))
        else:
            self._retry_seconds = 1.0
            self._content = request.file
            self._restart = self._reloader.sections_for_a_restart(file)
            if is_other:
                number = self._registry.generation.number
                logger.info("The models are those of %s now (generation %d)", self._path, number)
        self._note(request, refusal.reason if refusal is not None else None)
        return refusal

    def _reason(self, error: ReloadRefused) -> str:
        if not (error.is_for_now and self._options.watch):
            return str(error)
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, _LONGEST_RETRY_SECONDS)
        return f"{str(error).rstrip('.')}; it is tried again"

    def _wish(self, request: Request) -> Wish:
        is_next = self._done >= request.after
        return Wish(frozenset(request.unloaded), request.only if is_next else "")

    def _note(self, request: Request, reason: str | None) -> None:
        self._done = request.id
        number = self._registry.generation.number
        if reason is not None:
            logger.error("The models stay as they are (generation %d): %s", number, reason)
        if self._restart:
            logger.warning("A restart is needed for changes of: %s", ", ".join(self._restart))
        is_taken = reason is None
        self._registry.last_reload = LastReload(
            "taken" if is_taken else "refused", time.time(), reason
        )
        for call in self.after_each:
            call(self._registry.last_reload, number)
        self._tell()

    def _drain(self) -> None:
        until = time.monotonic() + _DRAIN_SECONDS
        while self._reloader.departures and time.monotonic() < until:
            self._reloader.departures.settle()
            time.sleep(_PAUSE_SECONDS)

    def _tell(self) -> None:
        """Write how this process is, for those who ask for the status of the server."""
        if self._folder is None:
            return
        last = self._registry.last_reload or LastReload()
        told = {
            "server": os.getppid(),
            "configuration": str(self._path.absolute()),
            "fingerprint": self.fingerprint,
            "generation": self._registry.generation.number,
            "request": self._done,
            **last._asdict(),
            "restart": self._restart,
            "models": _told_of_models(self._registry.generation),
        }
        if told != self._told:
            self._told = told
            self._folder.tell(told)


class _Entries:
    """The configuration file as it is now, and the files that the entries in it are made from."""

    def __init__(self, path: Path, edition_of: Callable[[ModelConfiguration], str]) -> None:
        self._path = path
        self._edition_of = edition_of
        self._state: tuple[int, int, int] | None = None
        self._content = b""
        self._failures = 0
        self._parsed: tuple[bytes, ConfigurationFile] | None = None

    def read(self) -> bytes | None:
        """Return the content of the file; None where it is not there, or is being written."""
        try:
            found = self._path.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if state != self._state:
                if 0 <= time.time() - found.st_mtime < _SECONDS_UNTIL_WRITTEN:
                    return None
                self._content, self._state = self._path.read_bytes(), state
        except OSError as error:
            self._note_failure(error)
            return None
        self._failures = 0
        return self._content

    def _note_failure(self, error: OSError) -> None:
        self._failures += 1
        if self._failures == _FAILURES:
            told = self._path, error.strerror or error
            logger.warning("%s cannot be read: %s; the models stay as they are", *told)

    def editions(self, content: bytes) -> str:
        """Return what changes with the files of the models that some content names."""
        if self._parsed is None or self._parsed[0] != content:
            self._parsed = content, ConfigurationFile(self._path, content)
        models = self._parsed[1].models()
        return _joined([self._edition_of(configuration) for _, configuration in models])


def _told_of_models(generation: Generation) -> list[dict[str, str | None]]:
    reasons = {
        model: release.why_taken_back(model)
        for release in generation.releases()
        for model in release.models
    }
    return [
        {
            "name": model.label,
            "version": model.version or "",
            "state": "taken back" if reasons.get(model) else model.serving_state.value,
            "reason": reasons.get(model) or model.trouble,
        }
        for model in generation.models
    ]


def _joined(editions: list[str]) -> str:
    return " ".join(sorted(filter(None, editions)))


def _refusal_of_deaths(request: Request, deaths: int) -> Refusal | None:
    if deaths < _DEATHS:
        return None
    return Refusal(request.id, f"{deaths} workers have ended while they loaded the new models")
