"""The access log: one line for each request."""

from __future__ import annotations

import logging
from functools import lru_cache
from urllib.parse import quote

from models_api.observability.client_address import ClientAddresses
from models_api.observability.requests import FinishedRequest, path_template

LOGGER = "models_api.access"
logger = logging.getLogger(LOGGER)


class AccessLog:
    """Logs requests: an observer for RequestRecorder.

    Probes, and files of the documentation, are for DEBUG, unless the answer is another one than the
    last time, and one of the two a failure; everything else is for INFO. Of what the client sent
    the line has the method alone: the route is the URLconf's, and `-` where none matched.
    """

    def __init__(
        self, addresses: ClientAddresses | None = None, *, logs_probes: bool = False
    ) -> None:
        """Make it.

        Args:
            addresses: Finds the address of who asked; by default no proxy is trusted.
            logs_probes: Whether probes and files of the documentation are for INFO, too.
        """
        self._addresses = addresses or ClientAddresses()
        self._logs_probes = logs_probes
        self._statuses: dict[tuple[str | None, str | None], int] = {}
        """The last ones of routine, by route and model."""

    def __call__(self, request: FinishedRequest) -> None:
        """Log one request."""
        level = logging.DEBUG if request.is_routine and self._is_quiet(request) else logging.INFO
        if logger.isEnabledFor(level):
            message, fields = self._describe(request)
            # As logger.log does, but for the search for its caller, and for names of its own.
            make_record = logging.getLogRecordFactory()
            record = make_record(LOGGER, level, __file__, 0, message, (), None, "log_access")
            vars(record).update(fields)
            logger.handle(record)

    def _is_quiet(self, request: FinishedRequest) -> bool:
        if self._logs_probes:
            return False
        key, status = (request.route, request.context.model), request.status
        before = self._statuses.get(key, 200)
        self._statuses[key] = status
        return status == before or max(status, before) < 400

    def _describe(self, request: FinishedRequest) -> tuple[str, dict[str, object]]:
        """Return the message, and the fields that programs read."""
        message, fields = _describe(request)
        client = self._addresses.find(request.remote_address, request.forwarded_for)
        if client is not None:
            fields["client"] = client
            message = f"{message} client={client}"
        if request.user is not None:
            fields["user"] = user = _name(request.user)
            message = f"{message} user={_visible(user)}"
        return message, fields


def _describe(request: FinishedRequest) -> tuple[str, dict[str, object]]:
    """Return what is known but for who asked."""
    context = request.context
    begin, end, known = _known(
        (request.method, request.route, request.status), (context.model, context.version)
    )
    milliseconds, rows = _milliseconds(request.seconds), context.rows
    fields: dict[str, object] = {**known, "milliseconds": milliseconds}
    message = f"{begin} {milliseconds:.1f} ms{end}"
    if rows is not None:
        size = context.batch_size or 0
        fields["rows"], fields["batch_size"] = rows, size
        message = f"{message} rows={rows} batch_size={size}"
    if rows is not None or context.queue_seconds:
        fields["queue_ms"] = queue_ms = _milliseconds(context.queue_seconds)
        message = f"{message} queue_ms={queue_ms:.1f}"
    if context.reason is not None:
        fields["reason"] = context.reason
        message = f"{message} reason={context.reason}"
    return message, fields


def _name(user: object) -> str:
    """Return the name by which a user logs in; other principals are written as they are."""
    name = getattr(user, "get_username", None)
    return str(name() if callable(name) else user)


def _visible(text: str) -> str:
    """Write a text as one word, whatever characters are in it."""
    return "".join(
        [
            each if each.isprintable() and each not in ' %"' else quote(each, errors="replace")
            for each in text
        ]
    )


def _milliseconds(seconds: float) -> float:
    return int(seconds * 1e6 + 0.5) / 1000


@lru_cache(maxsize=1024)
def _known(
    about: tuple[str, str | None, int], model: tuple[str | None, str | None]
) -> tuple[str, str, dict[str, object]]:
    """Return how a message begins and ends, and the fields that many requests have in common."""
    method, route, status = about
    shown = path_template(route) if route is not None else "-"
    of_model = zip(("model", "version"), model, strict=True)
    known: dict[str, object] = {name: value for name, value in of_model if value is not None}
    end = "".join([f" {name}={_word(value)}" for name, value in known.items()])
    fields = {"method": method, "route": shown, "status": status, **known}
    return f"{method} {_word(shown)} {status}", end, fields


def _word(value: object) -> str:
    """Write a value without blanks, which stand between the words of a line."""
    return str(value).replace(" ", "%20")
