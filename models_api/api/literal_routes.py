"""Routes without parameters, found by one look-up however many there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, unquote

from django.core.checks import CheckMessage
from django.http.response import HttpResponseBase
from django.urls import Resolver404, ResolverMatch, URLPattern, URLResolver
from django.urls.resolvers import RoutePattern


def literal_path(
    route: str,
    view: Callable[..., HttpResponseBase],
    kwargs: Mapping[str, object] | None = None,
    *,
    name: str,
    shown: str | None = None,
) -> URLPattern:
    """Return a route without parameters, which may hold any character.

    Args:
        route: As requests have it, decoded.
        view: Answers the requests.
        kwargs: Arguments of the view.
        name: For `reverse`.
        shown: The route as URLs have it; without it, the route percent-encoded but for its slashes.
    """
    given = None if kwargs is None else dict(kwargs)
    pattern = _LiteralPattern(route, name, quote(route) if shown is None else shown)
    return URLPattern(pattern, view, given, name)


class _LiteralPattern(RoutePattern):
    """A route that documents show as it stands in URLs; requests have it decoded."""

    def __init__(self, route: str, name: str, shown: str) -> None:
        super().__init__("", name, is_endpoint=True)
        # Not by RoutePattern, to which angle brackets are parameters.
        self._route, self._regex = route, f"^{re.escape(route)}\\Z"
        self._shown = shown

    def check(self) -> list[CheckMessage]:
        """Find nothing wrong with whatever characters."""
        return []

    def __str__(self) -> str:
        return self._shown


class LiteralRoutes(URLResolver):
    """Resolves a group of routes by a dictionary, where Django tries patterns one after the other.

    To everything else, such as `reverse` and drf-spectacular, it is an included URLconf.
    """

    def __init__(self, patterns: Sequence[URLPattern]) -> None:
        super().__init__(RoutePattern("", is_endpoint=False), list(patterns))
        self.routes = {unquote(str(pattern.pattern)): pattern for pattern in patterns}
        """As requests have them, decoded."""
        self._matches: dict[str, ResolverMatch] = {}
        for route, pattern in self.routes.items():
            # Without parameters a route has only one; Django copies from it what it changes.
            match = pattern.resolve(route)
            if match is not None:
                match.route = route
                self._matches[route] = match

    def resolve(self, path: str) -> ResolverMatch:
        """Return the match of the route that equals this path.

        Raises:
            Resolver404: there is none.
        """
        match = self._matches.get(path)
        if match is None:
            raise Resolver404({"tried": [], "path": path})
        return match
