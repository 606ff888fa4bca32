"""Requests that wait while others are on their way go together, as one message."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from models_api.fork import call_after_fork
from models_api.prediction.backends.messages import Message

_GROUPED_BYTES = 1 << 20
"""Of the bodies in one message: larger ones gain nothing by it."""

Send = Callable[[Message, float], Message]
"""Returns the answer to a message, of which the oldest request was made at a moment."""


class _Request:
    """A message on its way."""

    __slots__ = ("answer", "began", "error", "leads", "message", "turn")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.began = time.monotonic()
        self.answer: Message | None = None
        self.error: BaseException | None = None
        self.leads = False
        """Whether its thread is to send the next group."""
        self.turn = threading.Lock()
        """Held until there is an answer or an error, or it leads."""
        self.turn.acquire()

    def outcome(self) -> Message:
        if self.error is not None:
            raise self.error
        if self.answer is None:
            raise RuntimeError("The thread that sent this request was stopped.")
        return self.answer


class GroupingSender:
    """Sends the requests of many threads, each alone as long as few are on their way.

    Those that come while all lines are taken wait for the first one that is free, and go together:
    one message for all that wait, and one for their answers. No thread is started, and nobody waits
    without need.
    """

    def __init__(self, send: Send, lines: int, rows: int) -> None:
        """Make it.

        Args:
            send: What it sends with.
            lines: Messages that are on their way at a time.
            rows: Requests that one of them has at most.
        """
        self._send = send
        self._lines = lines
        self._rows = rows
        self._begin()
        # The threads that were asking are not in a forked child.
        call_after_fork(self._begin)

    def ask(self, message: Message) -> Message:
        """Return the answer to a request.

        Raises:
            BaseException: what `send` raises.
        """
        request = _Request(message)
        with self._lock:
            if self._free:
                self._free -= 1
                request.leads = True
            else:
                # The process counts the time from now on.
                message.head["queued"] = request.began
                self._waiting.append(request)
        if not request.leads:
            request.turn.acquire()
        if request.leads:
            self._lead(request)
        return request.outcome()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._free = self._lines

    def _lead(self, request: _Request) -> None:
        group = [request, *self._followers(request)]
        try:
            for each, answer in zip(group, self._answers(group), strict=True):
                each.answer = answer
        except BaseException as error:  # noqa: BLE001 (each raises it on its own thread)
            for each in group:
                each.error = error
        finally:
            self._hand_over()
            for each in group[1:]:
                each.turn.release()

    def _followers(self, request: _Request) -> Sequence[_Request]:
        followers: list[_Request] = []
        size = len(request.message.body)
        with self._lock:
            while self._waiting and len(followers) + 1 < self._rows:
                size += len(self._waiting[0].message.body)
                if size > _GROUPED_BYTES:
                    break
                followers.append(self._waiting.popleft())
        return followers

    def _answers(self, group: Sequence[_Request]) -> Sequence[Message]:
        oldest = group[0]
        if len(group) == 1:
            return [self._send(oldest.message, oldest.began)]
        joined = Message.joined([each.message for each in group])
        return self._send(joined, oldest.began).parts()

    def _hand_over(self) -> None:
        with self._lock:
            if not self._waiting:
                self._free += 1
                return
            following = self._waiting.popleft()
        following.leads = True
        following.turn.release()
