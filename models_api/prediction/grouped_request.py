"""A request for one row that came together with others, and is predicted with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec

from pydantic import BaseModel

from models_api.prediction.request_context import RequestContext, current_request

P = ParamSpec("P")


class GroupedRequest:
    """One of the requests of a group, which one thread takes from step to step."""

    __slots__ = ("body", "context", "error", "row", "written")

    row: BaseModel
    """What the body was parsed to."""

    def __init__(self, context: RequestContext, body: bytes) -> None:
        self.context = context
        self.body = body
        self.written = b""
        """The prediction as JSON."""
        self.error: BaseException | None = None
        """What ended the request; None if nothing did."""

    def take(
        self,
        step: Callable[Concatenate[GroupedRequest, P], None],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Take a step in the context of this request; what is raised is its error alone."""
        token = current_request.set(self.context)
        try:
            step(self, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001 (the answer of this request)
            self.error = error
        finally:
            current_request.reset(token)
