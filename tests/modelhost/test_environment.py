from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from modelhost import environment


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELHOST_BIND", " ")
    assert environment.text("BIND", "here") == "here"


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        *((value, True) for value in ("1", "true", "YES", "on")),
        *((value, False) for value in ("0", "False", "no", "OFF")),
    ],
)
def test_a_flag_can_be_written_in_several_ways(
    monkeypatch: pytest.MonkeyPatch, value: str, meaning: bool
) -> None:
    monkeypatch.setenv("MODELHOST_DEBUG", value)
    assert environment.flag("DEBUG", default=not meaning) is meaning


@pytest.mark.parametrize("default", [True, False])
def test_a_flag_that_is_not_set_is_its_default(
    monkeypatch: pytest.MonkeyPatch, default: bool
) -> None:
    monkeypatch.delenv("MODELHOST_DEBUG", raising=False)
    assert environment.flag("DEBUG", default=default) is default


def test_a_flag_that_is_neither_yes_nor_no_says_how_to_write_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODELHOST_DEBUG", "perhaps")
    with pytest.raises(ImproperlyConfigured, match=r"MODELHOST_DEBUG is 'perhaps'; write 1 or 0\."):
        environment.flag("DEBUG", default=False)


@pytest.mark.parametrize("value", ["many", "-1", "1.5", "1e3", "٣"])
def test_a_number_that_is_none_says_so(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MODELHOST_THREADS", value)
    with pytest.raises(
        ImproperlyConfigured, match=r"MODELHOST_THREADS is .*; write a whole number"
    ):
        environment.number("THREADS", 1)


def test_numbers_and_lists_are_read_with_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELHOST_THREADS", "12")
    monkeypatch.setenv("MODELHOST_ALLOWED_HOSTS", "a.example, b.example,,")
    assert environment.number("THREADS", 1) == 12
    assert environment.items("ALLOWED_HOSTS", "c") == ["a.example", "b.example"]


def test_the_log_level_is_one_of_loggings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELHOST_LOG_LEVEL", "debug")
    assert environment.log_level() == "DEBUG"
    monkeypatch.setenv("MODELHOST_LOG_LEVEL", "loud")
    with pytest.raises(ImproperlyConfigured, match="MODELHOST_LOG_LEVEL is 'LOUD'; write one of"):
        environment.log_level()


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("models.example:80", ("models.example", 80)),
        ("[::1]:8000", ("::1", 8000)),
        (":8000", ("", 8000)),
        ("8000", None),
        ("127.0.0.1", None),
        ("unix:/run/socket", None),
        ("a:1,b:2", None),
    ],
)
def test_an_address_is_split_into_host_and_port(bind: str, address: tuple[str, int] | None) -> None:
    assert environment.split_address(bind) == address


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WORKER", "WORKERS"),
        ("workers", "WORKERS"),
        ("THREAD", "THREADS"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("MAX_BODY_SIZE", "MAX_BODY_BYTES"),
        ("LOGLEVEL", "LOG_LEVEL"),
    ],
)
def test_a_variable_that_nothing_reads_is_told_with_the_nearest_that_is_read(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(f"MODELHOST_{name}", "1")
    (sentence,) = environment.unknown_variables()
    assert f"MODELHOST_{name} " in sentence
    assert f"Did you mean MODELHOST_{meant}?" in sentence


def test_a_variable_that_is_like_no_other_is_told_where_all_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODELHOST_QQQ", "1")
    (sentence,) = environment.unknown_variables()
    assert sentence.endswith("does nothing. The page on running lists them.")


@pytest.mark.parametrize(
    "name",
    [
        *sorted(environment.VARIABLES),
        *("SHARED_DIRECTORY", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP"),
        *("PORT", "PORT_8000_TCP", "PORT_8000_TCP_ADDR"),
    ],
)
def test_settings_and_what_servers_and_kubernetes_set_is_not_told(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"MODELHOST_{name}", "tcp://10.0.0.1:8000")
    assert environment.unknown_variables() == []


def test_the_page_on_running_lists_every_variable() -> None:
    page = (Path(__file__).parents[2] / "docs" / "running.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `MODELHOST_(\w+)`", page, re.MULTILINE)) == environment.VARIABLES


def test_no_variable_is_read_that_is_not_known() -> None:
    with pytest.raises(LookupError, match="NO_SUCH"):
        environment.text("NO_SUCH", "")


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        *(("", ""), (" ", ""), ("/", ""), ("/ml", "/ml"), ("/ml/", "/ml"), (" /a/b ", "/a/b")),
        *(
            ("/.well-known", "/.well-known"),
            ("/a..b/...", "/a..b/..."),
            ("/@me/1.0~x", "/@me/1.0~x"),
        ),
    ],
)
def test_a_prefix_is_a_path_without_a_slash_at_its_end(
    monkeypatch: pytest.MonkeyPatch, value: str, meaning: str
) -> None:
    monkeypatch.setenv("SCRIPT_NAME", value)
    assert environment.prefix("SCRIPT_NAME") == meaning


HOSTILE_PREFIXES = (
    *("//evil.test", "https://evil.test", "///", "/a//b", "/a//", "/\\evil.test", "\\\\evil.test"),
    *("/..", "/a/../b", "/./a", "/a/.", "ml", "javascript:alert(1)", "/a\r\nSet-Cookie: b", "/a\n"),
    *("/a b", "/\t/evil.test", "/%2fevil.test", "/a?b", "/a#b", "/\xe4", "/{a}", "/<b>", '/"'),
    *("/a,/b", "/\x00", "/" + "a" * 255),
)


@pytest.mark.parametrize("value", HOSTILE_PREFIXES)
def test_what_could_lead_elsewhere_is_no_prefix(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    assert environment.as_prefix(value) is None
    if value.isprintable():
        monkeypatch.setenv("MODELHOST_PATH_PREFIX", value)
        with pytest.raises(
            ImproperlyConfigured, match=r"MODELHOST_PATH_PREFIX is .*; write a path"
        ):
            environment.prefix("MODELHOST_PATH_PREFIX")
