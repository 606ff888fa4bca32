"""Routes without parameters, found by one look-up however many there are."""

from __future__ import annotations

from collections.abc import Sequence

from django.urls import Resolver404, ResolverMatch, URLPattern, URLResolver
from django.urls.resolvers import RoutePattern


class LiteralRoutes(URLResolver):
    """Resolves a group of routes by a dictionary, where Django tries patterns one after the other.

    To everything else, such as `reverse` and drf-spectacular, it is an included URLconf.
    """

    def __init__(self, patterns: Sequence[URLPattern]) -> None:
        super().__init__(RoutePattern("", is_endpoint=False), list(patterns))
        routes = {str(pattern.pattern): pattern for pattern in patterns}
        # Without parameters a route has only one match; Django copies from it what it changes.
        self._matches = {route: pattern.resolve(route) for route, pattern in routes.items()}

    def resolve(self, path: str) -> ResolverMatch:
        """Return the match of the route that equals this path.

        Raises:
            Resolver404: there is none.
        """
        match = self._matches.get(path)
        if match is None:
            raise Resolver404({"tried": [], "path": path})
        return match
