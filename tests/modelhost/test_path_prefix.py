"""Where the service says that it is, by what its environment and a proxy tell."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.path_prefix import PathPrefix
from tests.modelhost.test_environment import HOSTILE_PREFIXES


def seen(path: str, *, taken: str = "", kept: str = "", trusts: bool = False, **more: Any) -> Any:
    """Return the two parts of the path as the application behind sees them."""
    environs: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], _start_response: Any) -> list[bytes]:
        environs.append(environ)
        return []

    environ = {"SCRIPT_NAME": "", "PATH_INFO": path, **more}
    prefixed: Any = PathPrefix(application, taken, kept, trusts_proxy=trusts)
    prefixed(environ, lambda *_: None)
    return environs[0]["SCRIPT_NAME"], environs[0]["PATH_INFO"]


def test_what_a_proxy_takes_away_is_told_and_the_path_stays() -> None:
    assert seen("/docs", taken="/ml") == ("/ml", "/docs")
    assert seen("/ml/docs", taken="/ml") == ("/ml", "/ml/docs")
    assert seen("/api/health", taken="/api") == ("/api", "/api/health")
    assert seen("/docs", taken="/ml", SCRIPT_NAME="/inner/") == ("/ml/inner", "/docs")


@pytest.mark.parametrize(
    ("kept", "path", "rest"),
    [
        ("/ml", "/ml/docs", "/docs"),
        ("/ml", "/ml/", "/"),
        ("/ml", "/ml", ""),
        ("/ml", "/docs", "/docs"),
        ("/ml", "/mlx/docs", "/mlx/docs"),
        ("/ml", "/ml/ml/docs", "/ml/docs"),
        ("/ml", "/ml/api/health", "/api/health"),
        ("/api", "/api/api/models", "/api/models"),
        ("/api", "/api/health/ready", "/api/health/ready"),
        ("/api", "/api/api/health/ready", "/api/health/ready"),
        ("/v2", "/v2/health/live", "/v2/health/live"),
        ("/metrics", "/metrics", "/metrics"),
        ("/metrics", "/metrics/metrics", "/metrics"),
        ("/a/b", "/a/b/", "/"),
        ("/a/b", "/a/docs", "/a/docs"),
    ],
)
def test_what_requests_still_have_is_cut_off_but_not_from_the_paths_of_probes(
    kept: str, path: str, rest: str
) -> None:
    assert seen(path, kept=kept) == (kept, rest)


def test_a_trusted_proxy_says_what_it_has_taken_away() -> None:
    def told(prefix: str, taken: str = "/ml") -> Any:
        return seen("/docs", taken=taken, trusts=True, HTTP_X_FORWARDED_PREFIX=prefix)[0]

    assert (told("/other"), told("/a/b/"), told("/"), told("")) == ("/other", "/a/b", "", "/ml")
    assert seen("/docs", taken="/ml", trusts=True)[0] == "/ml"
    for hostile in HOSTILE_PREFIXES:
        assert (told(hostile), told(hostile, "")) == ("/ml", "")


@pytest.mark.parametrize("prefix", ["/other", "//evil.test", ""])
def test_nobody_else_says_what_was_taken_away(prefix: str) -> None:
    assert seen("/docs", taken="/ml", HTTP_X_FORWARDED_PREFIX=prefix)[0] == "/ml"
