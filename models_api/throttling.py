"""A throttle by model, for a project's `DEFAULT_THROTTLE_CLASSES`."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from models_api.conf import model_throttle_rates, of_model

if TYPE_CHECKING:
    # Imports the classes of the settings, and so this module.
    from rest_framework.views import APIView


class ModelRateThrottle(SimpleRateThrottle):
    """Bounds the rows that each user may ask each model for, by MODELS_API_THROTTLE_RATES.

    Whoever is not logged in is known by the address. As all of REST framework's throttles it counts
    in the cache, and not exactly: requests that come at the same time may not see each other.
    """

    rows = 0
    """That the request asks for."""
    num_requests: int = 0
    """Rows that may be asked for in so many seconds."""
    duration: int = 0
    history: list[tuple[float, int]]
    """When requests were let through, the newest first, and their rows."""

    def __init__(self) -> None:
        """Leave the rate to the model of the request."""

    def get_cache_key(self, request: Request, view: APIView) -> str:
        """Return where the user's requests to the model are counted."""
        user: Any = request.user
        known = user is not None and user.is_authenticated
        ident = user.pk if known else self.get_ident(request)
        name = view.kwargs["qualified_name"].encode()
        # Not every cache takes every character of a name.
        scope = f"model_{sha256(name).hexdigest()[:32]}"
        return self.cache_format % {"scope": scope, "ident": ident}

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count the rows of a request, unless they are more than are left.

        Raises:
            Throttled: they are more than the rate allows at any time.
            ModelsAPIError: the body cannot be read.
        """
        # Of unknown names there is no end.
        if getattr(view, "hosted_model", None) is None:
            return True
        rate = of_model(model_throttle_rates(), view.kwargs["qualified_name"])
        self.rows = view.number_of_rows if rate is not None else 0  # type: ignore[attr-defined]
        if not self.rows:
            return True
        number, seconds = self.parse_rate(rate)
        self.num_requests, self.duration = number or 0, seconds or 0
        if self.rows > self.num_requests:
            raise Throttled(detail=f"{self.rows} rows are more than {rate}, which you may have.")
        return self._count(self.get_cache_key(request, view))

    def _count(self, key: str) -> bool:
        self.now = self.timer()
        begin = self.now - self.duration
        self.history = [each for each in self.cache.get(key, []) if each[0] > begin]
        if self._used() + self.rows > self.num_requests:
            return False
        self.history.insert(0, (self.now, self.rows))
        self.cache.set(key, self.history, self.duration)
        return True

    def _used(self) -> int:
        return sum(rows for _, rows in self.history)

    def wait(self) -> float:
        """Return the seconds until so many rows are free again."""
        lacking, until = self._used() + self.rows - self.num_requests, self.now
        for then, rows in reversed(self.history):
            if lacking > 0:
                lacking, until = lacking - rows, then + self.duration
        return until - self.now
