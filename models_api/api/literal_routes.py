"""Routes without parameters, found by one look-up however many there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, unquote

from django.http.response import HttpResponseBase
from django.urls import Resolver404, ResolverMatch, URLPattern, URLResolver
from django.urls.resolvers import RoutePattern


def literal_path(
    route: str,
    view: Callable[..., HttpResponseBase],
    kwargs: Mapping[str, object] | None = None,
    *,
    name: str,
) -> URLPattern:
    """Return a route without parameters, which may hold any character but `<`."""
    given = None if kwargs is None else dict(kwargs)
    return URLPattern(_LiteralPattern(route, name, is_endpoint=True), view, given, name)


class _LiteralPattern(RoutePattern):
    """A route that documents show as it stands in URLs; requests have it decoded."""

    def __str__(self) -> str:
        return quote(super().__str__())


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
