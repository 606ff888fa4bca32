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
        self._patterns_by_route = {str(pattern.pattern): pattern for pattern in patterns}

    def resolve(self, path: str) -> ResolverMatch:
        """Find the route that is this path to the letter.

        Raises:
            Resolver404: there is none.
        """
        pattern = self._patterns_by_route.get(path)
        match = pattern.resolve(path) if pattern else None
        if match is None:
            raise Resolver404({"tried": [], "path": path})
        return match
