"""docs/embedding-in-django.md, done in a fresh site as its reader does, and asked by each user."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.server import REPOSITORY
from tests.model_routes import LISTS, OF_A_MODEL
from tests.test_docs import Block, Walkthrough, blocks

PAGE = REPOSITORY / "docs" / "embedding-in-django.md"
_VARIABLE = re.compile(r"\$([A-Z]+)")
_TOKEN = re.compile(r"export ([A-Z]+)=\$\((.+)\)")

pytestmark = pytest.mark.long


class Site(Walkthrough):
    """A project that grows while its page is read; its server starts anew when files change."""

    def __init__(self, folder: Path, servers: ExitStack) -> None:
        super().__init__(folder, servers)
        self._running = servers.enter_context(ExitStack())
        self.variables: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self._has_changed = False
        self.environment = {
            name: value for name, value in os.environ.items() if name != "REST_CONFIG"
        } | {"DJANGO_SETTINGS_MODULE": "shop.settings"}

    def run(self, *parts: Block) -> None:
        for block in parts:
            if block.file == "shop/settings.py":  # the page adds to them
                with (self.folder / block.file).open("a", encoding="utf-8") as settings:
                    settings.write(f"\n{block.text}")
            else:
                super().run(block)
            self._has_changed |= bool(block.file)

    @property
    def running(self) -> DevelopmentServer:
        """The development server, which has seen the files as they are."""
        if self._has_changed:
            self._running.close()
            server = DevelopmentServer(
                self.folder / "rest_config.yaml",
                command=(sys.executable, "manage.py"),
                folder=self.folder,
                environment={"DJANGO_SETTINGS_MODULE": "shop.settings"},
                ready_path="/ml/api/health/ready",
            )
            self._server = self._running.enter_context(server)
            self._has_changed = False
        assert isinstance(self._server, DevelopmentServer)
        return self._server

    def _run(self, command: str) -> str | None:
        if command.startswith("cd "):
            self.folder /= command.removeprefix("cd ")
            return None
        if command.startswith("python manage.py runserver"):
            return None  # it is there as soon as somebody asks
        if (token := _TOKEN.fullmatch(command)) is not None:
            self.variables[token[1]] = self._bash(token[2]).strip()
            return None
        if command.startswith("curl "):
            self.server = self.running
            known = _VARIABLE.sub(lambda found: self.variables[found[1]], command)
            return self._ask(known)
        return self._bash(command)

    def _bash(self, command: str) -> str:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**self.environment, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def token_of(self, name: str, make: str) -> str:
        """Make another user by a line of Python, and return the token."""
        self._bash(f"python manage.py shell -c 'from django.contrib.auth.models import *; {make}'")
        return self._bash(f"python manage.py drf_create_token {name} | cut -d ' ' -f 3").strip()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site at the end of the page, where every command has printed what the page shows."""
    with ExitStack() as servers:
        site = Site(tmp_path_factory.mktemp("site"), servers)
        site.run(*blocks(PAGE))
        tokens = {"ada": site.variables["ADA"], "bob": site.variables["BOB"]}
        make = 'User.objects.create_superuser("root")'
        tokens["root"] = site.token_of("root", make)
        site.tokens = tokens
        yield site


def ask(site: Site, method: str, path: str, who: str | None) -> httpx.Response:
    headers = {} if who is None else {"Authorization": f"Token {site.tokens[who]}"}
    body: dict[str, str] | None = {} if method == "POST" else None
    return site.running.client.request(method, f"/ml{path}", headers=headers, json=body)


@pytest.mark.parametrize(("method", "route"), OF_A_MODEL)
def test_each_user_is_let_in_or_refused_on_each_route_alike(
    site: Site, method: str, route: str
) -> None:
    def statuses(name: str) -> list[int]:
        path = route.format(name, version="2.1.0")
        return [ask(site, method, path, who).status_code for who in (None, "bob", "ada", "root")]

    anonymous, bob, *others = statuses("credit_risk")
    assert (anonymous, bob) == (401, 403)
    # Of an empty body.
    assert set(others) == {200 if method == "GET" else 400}
    assert statuses("credit_cars") == [401, 403, 404, 404]
    assert statuses("nobody") == [401, 404, 404, 404]
    assert ask(site, method, route.format("rent", version="2.1.0"), "bob").status_code not in (
        401,
        403,
    )


@pytest.mark.parametrize(("method", "route"), LISTS)
def test_each_user_finds_in_each_list_what_that_one_may_ask(
    site: Site, method: str, route: str
) -> None:
    for who, models in [
        ("ada", {"credit", "rent"}),
        ("bob", {"rent"}),
        ("root", {"credit", "rent"}),
        (None, set()),
        ("bob", {"rent"}),
    ]:
        response = ask(site, method, route, who)
        assert response.status_code == 200
        text = response.text.lower()
        assert {name for name in ("credit", "rent") if re.search(rf"\b{name}", text)} == models


def test_the_pages_name_no_model(site: Site) -> None:
    for page in ("/docs", "/redoc"):
        assert "credit" not in ask(site, "GET", page, None).text
    assert ask(site, "GET", "/", None).headers["Location"] == "/ml/docs"


def test_each_answer_has_an_id_and_the_log_a_line(site: Site) -> None:
    response = ask(site, "GET", "/api/models", "bob")
    line = f"INFO models_api.access [{response.headers['X-Request-ID']}]: GET /ml/api/models 200"
    assert line in site.running.log


def test_the_models_load_when_the_server_starts(site: Site) -> None:
    assert "Loaded credit_risk 2.1.0" in site.running.log


def test_a_permission_of_django_lets_a_user_in_by_group_or_alone(site: Site) -> None:
    rule = '{"credit_*": {"permissions": ["auth.view_user"]}, "*": {"authenticated": True}}'
    settings = Block(PAGE, 0, "python", "shop/settings.py", f"MODELS_API_PERMISSIONS = {rule}\n")
    make = 'User.objects.create_user("cleo").user_permissions.add(Permission.objects.get('
    site.tokens["cleo"] = site.token_of("cleo", f'{make}codename="view_user"))')
    make = 'g = Group.objects.create(name="audit"); g.permissions.add(Permission.objects.get('
    make += 'codename="view_user")); User.objects.create_user("dan").groups.add(g)'
    site.tokens["dan"] = site.token_of("dan", make)
    before = (site.folder / "shop" / "settings.py").read_text(encoding="utf-8")
    site.run(settings)
    found = {
        who: ask(site, "GET", "/api/models/credit_risk/metadata", who).status_code
        for who in (None, "ada", "bob", "cleo", "dan", "root")
    }
    site.run(Block(PAGE, 0, "python", "shop/../shop/settings.py", before))
    assert found == {None: 401, "ada": 403, "bob": 403, "cleo": 200, "dan": 200, "root": 200}


def test_the_permission_shown_is_asked_about_each_model(site: Site) -> None:
    before = (site.folder / "shop" / "settings.py").read_text(encoding="utf-8")
    text = 'REST_FRAMEWORK["DEFAULT_PERMISSION_CLASSES"] += ["shop.policies.NoOldModels"]\n'
    site.run(Block(PAGE, 0, "python", "shop/settings.py", text))
    refused = {
        ask(site, method, route.format("rent", version="2.1.0"), "ada").status_code
        for method, route in OF_A_MODEL
        if "versions" not in route
    }
    listed = [ask(site, method, route, "ada").text.lower() for method, route in LISTS]
    known = ask(site, "GET", "/api/models/credit_risk/metadata", "ada").status_code
    site.run(Block(PAGE, 0, "python", "shop/../shop/settings.py", before))
    assert (refused, known) == ({403}, 200)
    assert all("credit" in text and '"rent"' not in text for text in listed)


def test_misspelt_names_of_rules_are_found_in_the_database(site: Site) -> None:
    before = (site.folder / "shop" / "settings.py").read_text(encoding="utf-8")
    rule = '{"credit_*": {"groups": ["riks"]}, "rnet": {"anyone": True}, "*": {"anyone": True}}'
    text = f"MODELS_API_PERMISSIONS = {rule}\n"
    site.run(Block(PAGE, 0, "python", "shop/settings.py", text))
    said = site._bash("python manage.py check --database default")
    site.run(Block(PAGE, 0, "python", "shop/../shop/settings.py", before))
    assert "(models_api.W023)" in said
    assert "names the group 'riks', which is not there" in said
    assert "HINT: Did you mean risk?" in said
    assert "MODELS_API_PERMISSIONS['rnet'] is for no model" in said
    assert "HINT: Did you mean rent?" in said


def test_the_document_of_the_whole_site_hides_what_a_user_may_not_ask(site: Any) -> None:
    before = {
        name: (site.folder / "shop" / name).read_text(encoding="utf-8")
        for name in ("settings.py", "urls.py")
    }
    settings = (
        'INSTALLED_APPS += ["drf_spectacular"]\n'
        'REST_FRAMEWORK["DEFAULT_SCHEMA_CLASS"] = "drf_spectacular.openapi.AutoSchema"\n'
        'SPECTACULAR_SETTINGS = {"OAS_VERSION": "3.1.0", "SERVE_PUBLIC": False}\n'
    )
    urls = (
        "from drf_spectacular.views import SpectacularJSONAPIView\n"
        'urlpatterns.append(path("ml/whole", SpectacularJSONAPIView.as_view()))\n'
    )
    site.run(Block(PAGE, 0, "python", "shop/settings.py", settings))
    site.run(Block(PAGE, 0, "python", "shop/urls.py", before["urls.py"] + urls))
    documents = [ask(site, "GET", "/whole", who).json() for who in ("ada", "bob", "ada")]
    for name, text in before.items():
        site.run(Block(PAGE, 0, "python", f"shop/../shop/{name}", text))
    path = "/ml/api/models/credit_risk/prediction"
    assert [path in each["paths"] for each in documents] == [True, False, True]
    assert "Credit" not in str(documents[1])
    assert "/ml/api/models/rent/prediction" in documents[1]["paths"]
