"""The README and the pages in docs/: what they show is run, what they refer to is there.

A fenced block may have a file name behind its language; the file is there for the commands that
follow. The lines of a `console` block that begin with `$ ` are commands, the others what they
print, where `...` stands for any text.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import struct
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import httpx
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from models_api.configuration.execution import (
    ExecutionConfiguration,
    RayAutoscalingConfiguration,
    RayConfiguration,
)
from models_api.configuration.file import ConfigurationFile
from models_api.configuration.section import fields_by_key
from models_api.configuration.sections import (
    AbortConfiguration,
    BatchingConfiguration,
    ColumnConfiguration,
    ConcurrencyConfiguration,
    DecoratorConfiguration,
    MetricsConfiguration,
    ModelConfiguration,
    OpenInferenceConfiguration,
    ReloadConfiguration,
    ServiceConfiguration,
    SmokeTest,
    ToleranceConfiguration,
)
from tests.end_to_end.server import REPOSITORY, Server, client_of, serve

PAGES = [
    *(
        REPOSITORY / name
        for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
    ),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
CONFIGURATION = REPOSITORY / "docs" / "configuration.md"
COOKBOOK = REPOSITORY / "docs" / "cookbook.md"
OPERATIONS = REPOSITORY / "docs" / "operations.md"
RUNNING = REPOSITORY / "docs" / "running.md"
_FENCE = re.compile(
    r"^```(?P<language>\w*)(?: (?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    file: str
    """Name behind the language; empty if there is none."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path, language: str = "") -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [
        Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2] or "", match[3])
        for match in _FENCE.finditer(text)
    ]
    return [block for block in found if language in ("", block.language)]


def recipes() -> dict[str, list[Block]]:
    """The blocks of the cookbook by the recipes that they belong to."""
    lines = COOKBOOK.read_text(encoding="utf-8").splitlines()
    found: dict[str, list[Block]] = {}
    for block in blocks(COOKBOOK):
        heading = [line for line in lines[: block.line] if line.startswith("## ")][-1]
        found.setdefault(heading.removeprefix("## "), []).append(block)
    return found


def all_blocks(language: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page, language)]


# What the blocks hold


@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", all_blocks("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize(
    "block", [b for b in all_blocks("yaml") if b.file in ("", "rest_config.yaml")], ids=str
)
def test_a_configuration_has_no_problems(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in re.findall(r"(?<!\$)\$\{(\w+)", block.text):
        monkeypatch.setenv(name, "1")
    path = tmp_path / "rest_config.yaml"
    path.write_text(block.text, encoding="utf-8")
    assert list(map(str, ConfigurationFile(path).problems)) == []


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/your-own-model.md",
        "docs/cookbook.md",
        "docs/clients.md",
        "docs/decorators.md",
        "docs/from-a-file.md",
    ],
)
def test_the_text_before_a_file_names_it(name: str) -> None:
    page = REPOSITORY / name
    lines, read = page.read_text(encoding="utf-8").splitlines(), 0
    for block in blocks(page):
        # What stands behind a language is not to be seen on a rendered page.
        assert block.file in "\n".join(lines[read : block.line - 1]), f"{block}: {block.file}"
        read = block.line + block.text.count("\n") + 1


# Links


def _links(page: Path) -> list[str]:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in _links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_each_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = {REPOSITORY / "README.md"}, [REPOSITORY / "README.md"]
    while waiting:
        page = waiting.pop()
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in _links(page)}
        new = {each for each in targets if each.suffix == ".md"} - reached
        reached |= new
        waiting.extend(new)
    assert set(PAGES) - reached <= {REPOSITORY / "docs" / "index.md"}


# The reference


SECTIONS: dict[str, type[BaseModel]] = {
    "The service": ServiceConfiguration,
    "Models": ModelConfiguration,
    "Abort": AbortConfiguration,
    "Tolerance": ToleranceConfiguration,
    "Columns": ColumnConfiguration,
    "Decorators": DecoratorConfiguration,
    "Batching": BatchingConfiguration,
    "Concurrency": ConcurrencyConfiguration,
    "Execution": ExecutionConfiguration,
    "Ray": RayConfiguration,
    "Ray autoscaling": RayAutoscalingConfiguration,
    "Metrics": MetricsConfiguration,
    "Open Inference": OpenInferenceConfiguration,
    "Reload": ReloadConfiguration,
    "Smoke tests": SmokeTest,
}


def section_text(page: Path, heading: str) -> str:
    match = re.search(
        rf"^## {heading}\n(.*?)(?=^## |\Z)", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert match is not None, heading
    return match[1]


def table(section: type[BaseModel]) -> list[str]:
    """The rows of a section's table: key, type, default and meaning as the code has them."""
    return [
        f"| `{key}` | {_type(field)} | {_default(field)} | {field.description} |"
        for key, field in fields_by_key(section).items()
    ]


def _type(field: FieldInfo) -> str:
    name = _type_name(field.annotation)
    bounds = [str(each) for each in field.metadata if type(each).__name__ in ("Gt", "Ge", "Le")]
    limits = re.findall(r"(gt|ge|le)=(\d+)", " ".join(bounds))
    signs = {"gt": "more than", "ge": "at least", "le": "at most"}
    return ", ".join([name, *(f"{signs[sign]} {limit}" for sign, limit in limits)])


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return _type_name(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{each}`" for each in get_args(annotation))
    if get_origin(annotation) is list:
        (item,) = get_args(annotation)
        kind = get_args(item)[:1] or (item,)  # with a pattern
        is_string = kind in ((str,), (Path,))
        return "list of strings" if is_string else "list of mappings"
    names = {
        str: "string",
        Path: "string",
        bool: "boolean",
        int: "whole number",
        float: "number",
    }
    return names.get(annotation, "mapping")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default, BaseModel) or field.default in (None, PydanticUndefined, [], {}):
        return "none"
    return f"`{json.dumps(field.default)}`"


@pytest.mark.parametrize(("heading", "section"), SECTIONS.items())
def test_the_reference_has_each_key_with_its_type_default_and_meaning(
    heading: str, section: type[BaseModel]
) -> None:
    text = section_text(CONFIGURATION, heading)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == table(section)


def environment_variables() -> list[str]:
    """Names of the variables that modelhost/ reads, and a command of models_api/."""
    found: set[str] = {"MODELHOST_LOG_LEVEL", "MODELHOST_API_KEY"}
    for path in (REPOSITORY / "modelhost").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        names = re.findall(r'\b(?:flag|items|number|text)\(\s*"([A-Z_]+)"', text)
        found |= {f"MODELHOST_{name}" for name in names}
        found |= set(re.findall(r'\bprefix\(\s*"(MODELHOST_[A-Z_]+)"', text))
    return sorted(found)


def test_each_environment_variable_is_documented_and_no_other() -> None:
    assert len(environment_variables()) > 10
    rows = re.findall(r"^\| `(MODELHOST_\w+)` \|", RUNNING.read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == environment_variables()


def test_no_page_speaks_of_a_variable_that_nothing_reads() -> None:
    for page in PAGES:
        named = set(re.findall(r"MODELHOST_[A-Z_]*[A-Z]", page.read_text("utf-8")))
        if page.name == "CHANGELOG.md":  # which also says what is no more
            named -= {"MODELHOST_CLIENT_TIMEOUT_SECONDS"}
        assert named <= set(environment_variables()), page.name


def test_the_floors_shown_are_those_of_the_contract() -> None:
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    floors = setup["importlinter:contract:packages"]["layers"].strip()
    shown = [block.text.strip() for block in blocks(REPOSITORY / "CONTRIBUTING.md", "text")]
    assert floors in shown


_STEP = re.compile(r"^ *(\S+\.py) +(\w+(?:\.\w+)?)")
"""File, and class with method, or function."""


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_the_way_of_a_prediction_leads_through_what_is_there(name: str) -> None:
    blocks_ = [block for block in blocks(REPOSITORY / name) if "PredictionEndpoint" in block.text]
    steps = [
        found.groups()
        for block in blocks_
        for line in block.text.splitlines()
        if (found := _STEP.match(line))
    ]
    files = {file.removeprefix("models_api/") for file, _ in steps}
    assert len(files) > 12
    for file, names in steps:
        if file == "your_models.py":
            continue
        [path] = {REPOSITORY / part / file for part in ("", "models_api") if _is_file(part, file)}
        text = path.read_text(encoding="utf-8")
        for word in names.split("."):
            assert re.search(rf"^ *(?:class|def) {word}\b", text, re.MULTILINE), f"{file}: {names}"


def _is_file(folder: str, name: str) -> bool:
    return (REPOSITORY / folder / name).is_file()


def test_each_alert_and_each_metric_is_documented_and_no_other() -> None:
    rules = (REPOSITORY / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8")
    alerts = re.findall(r"- alert: (\w+)", rules)
    table_ = section_text(OPERATIONS, "Alerts")
    rows = re.findall(r"^\| (`.+`) \|", table_, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(alerts)

    folder = REPOSITORY / "models_api" / "observability"
    code = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    kept = set(re.findall(r'"((?:model|modelhost)_[a-z_]+)"', code))
    text = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\| `((?:model|modelhost)_[a-z_]+)`", text, re.MULTILINE))
    assert {name.removesuffix("_total") for name in shown} == kept


# Walking through a page as its reader does


class Shown:
    """Equals a text that is as shown; `...` stands for anything."""

    def __init__(self, text: str) -> None:
        self._text = text.strip()

    def __eq__(self, other: object) -> bool:
        pattern = re.escape(self._text).replace(re.escape("..."), ".*").replace("…", ".*")
        return isinstance(other, str) and bool(re.fullmatch(pattern, other.strip(), re.DOTALL))

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Shown({self._text!r})"


class Walkthrough:
    """Runs the commands of a page in order, and compares what they print."""

    # What the environment of the tests has had done to it.
    DONE = (
        "make ",
        "pip ",
        "mkdir ",
        "cd ",
        "python3 -m venv",
        ". .venv",
        "openapi-python-client ",
    )

    def __init__(self, folder: Path, servers: ExitStack, server: Server | None = None) -> None:
        self.folder = folder
        self.servers = servers
        self.server = server
        self._exports: list[str] = []

    def run(self, *parts: Block) -> None:
        for block in parts:
            if block.file:
                (self.folder / block.file).write_text(block.text, encoding="utf-8")
            elif block.language == "console":
                for command, shown in _commands(block.text):
                    printed = self._run(command)
                    assert printed is None or printed == Shown(shown), f"{block}: {command}"

    def _run(self, command: str) -> str | None:
        if command.startswith(self.DONE):
            return None
        if command.startswith("export "):
            self._exports.append(command)
            return ""
        if command.startswith("modelhost serve"):
            self._serve(shlex.split(command)[2:])
            return None
        return self._ask(command) if command.startswith("curl ") else self._bash(command)

    def _serve(self, arguments: list[str]) -> None:
        path = self.folder / "rest_config.yaml"
        program = str(Path(sys.executable).with_name("modelhost"))
        self.servers.close()  # the one before has the same port, for readers
        server = serve(path, *arguments, folder=self.folder, command=(program, "serve"))
        self.server = self.servers.enter_context(server)

    def _ask(self, command: str) -> str:
        """Do what curl would do, which is not everywhere."""
        assert self.server is not None
        parser = ArgumentParser()
        parser.add_argument("url")
        parser.add_argument("-H", action="append", default=[])
        parser.add_argument("-d")
        parser.add_argument("-i", action="store_true")
        parser.add_argument("-s", action="store_true")
        parser.add_argument("-o", default="-")
        given = parser.parse_args(shlex.split(command)[1:])
        headers = dict(header.split(": ", 1) for header in given.H)
        if given.d is not None:
            headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        with client_of(self.server.url) as client:
            for url in _each_url(given.url.replace("http://127.0.0.1:8000", "")):
                method = "GET" if given.d is None else "POST"
                response = client.request(method, url, headers=headers, content=given.d)
        if given.o != "-":
            return ""
        if not given.i:
            return response.text
        head = [f"HTTP/1.1 {response.status_code} {response.reason_phrase}"]
        head += [f"{name.title()}: {value}" for name, value in response.headers.items()]
        return "\n".join([*head, "", response.text])

    def _bash(self, command: str) -> str:
        if self.server is not None:
            self._lead_to_server(*re.findall(r"^python (\w+\.py)$", command))
        # A clone stays as it is.
        command = command.replace("schema.yaml", str(self.folder / "schema.yaml"))
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        completed = subprocess.run(
            ["bash", "-c", "\n".join([*self._exports, command])],
            cwd=REPOSITORY if "manage.py" in command else self.folder,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        return "\n".join(line for line in completed.stdout.splitlines() if " INFO " not in line)

    def _lead_to_server(self, *scripts: str) -> None:
        assert self.server is not None
        for script in scripts:
            path = self.folder / script
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("http://127.0.0.1:8000", self.server.url), "utf-8")


def _each_url(pattern: str) -> list[str]:
    """Those that curl asks: `[1-300]` stands for each of these numbers."""
    found = re.fullmatch(r"(.*)\[1-(\d+)\](.*)", pattern)
    if found is None:
        return [pattern]
    return [f"{found[1]}{number}{found[3]}" for number in range(1, int(found[2]) + 1)]


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command with what it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


@pytest.fixture(scope="module")
def example_server() -> Iterator[Server]:
    with Server(REPOSITORY / "rest_config.yaml") as server:
        yield server


@pytest.mark.long
def test_the_way_from_a_file_works_as_it_is_shown(tmp_path: Path) -> None:
    with ExitStack() as servers:
        Walkthrough(tmp_path, servers).run(*blocks(REPOSITORY / "docs" / "from-a-file.md"))


@pytest.mark.long
def test_new_versions_are_released_as_it_is_shown(tmp_path: Path) -> None:
    with ExitStack() as servers:
        Walkthrough(tmp_path, servers).run(*blocks(REPOSITORY / "docs" / "releases.md"))


@pytest.mark.parametrize("name", ["README.md", "docs/your-own-model.md", "docs/http-api.md"])
def test_the_commands_of_a_page_print_what_it_shows(
    name: str, example_server: Server, tmp_path: Path
) -> None:
    with ExitStack() as servers:
        walkthrough = Walkthrough(tmp_path, servers, example_server)
        walkthrough.run(*blocks(REPOSITORY / name))


def test_a_file_of_rows_is_predicted_as_shown(tmp_path: Path) -> None:
    model = [b for b in blocks(REPOSITORY / "README.md") if b.file.startswith(("my_", "rest_"))]
    with ExitStack() as servers:
        parts = [*model, *blocks(REPOSITORY / "docs" / "bulk-scoring.md")]
        Walkthrough(tmp_path, servers).run(*parts)


def is_torch_wanted() -> bool:
    """Whether a test is to run what needs PyTorch: where there is one, and in CI on Python 3.11."""
    return bool(find_spec("torch")) or ("CI" in os.environ and sys.version_info < (3, 12))


@pytest.mark.long
@pytest.mark.parametrize("recipe", recipes())
def test_each_recipe_of_the_cookbook_works_as_it_is_shown(recipe: str, tmp_path: Path) -> None:
    parts = recipes()[recipe]
    if "import torch" in str([block.text for block in parts]) and not is_torch_wanted():
        pytest.skip("there is no PyTorch; requirements/cookbook.txt has it")
    with ExitStack() as servers:
        Walkthrough(tmp_path, servers).run(*parts)


def test_the_requests_for_open_inference_are_answered_as_shown(tmp_path: Path) -> None:
    page = REPOSITORY / "docs" / "open-inference.md"
    with (
        Server(REPOSITORY / "examples" / "open_inference.yaml") as server,
        ExitStack() as servers,
    ):
        Walkthrough(tmp_path, servers, server).run(*blocks(page))
        script = (tmp_path / "triton_client.py").read_text(encoding="utf-8")
        assert "127.0.0.1:8000" in script
        printed = subprocess.run(
            [sys.executable, "-c", script.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")],
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )
    assert printed.stdout == "['setosa', 'virginica']\n"


def test_the_clients_predict(example_server: Server, tmp_path: Path) -> None:
    page = REPOSITORY / "docs" / "clients.md"
    with ExitStack() as servers:
        Walkthrough(tmp_path, servers, example_server).run(*blocks(page))
    _generate_client(example_server, tmp_path)
    for name in ("client.py", "typed_client.py"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "http://127.0.0.1:8000" in text
        script = text.replace("http://127.0.0.1:8000", example_server.url)
        printed = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )
        assert printed.stdout == "setosa\n", name


def _generate_client(server: Server, folder: Path) -> None:
    shown = next(
        command
        for block in blocks(REPOSITORY / "docs" / "clients.md", "console")
        for command, _ in _commands(block.text)
        if command.startswith("openapi-python-client generate --url")
    )
    arguments = shlex.split(shown.replace("http://127.0.0.1:8000", server.url))[1:]
    program = "from openapi_python_client.cli import app; app()"
    subprocess.run([sys.executable, "-c", program, *arguments], cwd=folder, timeout=60, check=True)


def test_a_client_tries_again_while_the_model_is_not_ready_and_tells_other_errors(
    example_server: Server,
) -> None:
    (block,) = (
        block
        for block in blocks(REPOSITORY / "docs" / "clients.md", "python")
        if block.file == "retrying.py"
    )
    names: dict[str, Any] = {}
    exec(compile(block.text, str(block), "exec"), names)  # noqa: S102 (what the page shows)
    answers = iter([503, 503, 200])
    error = {"type": "ModelNotReady", "messages": ["The model iris is not loaded yet."]}

    def answer(_request: httpx.Request) -> httpx.Response:
        status = next(answers)
        body = {"species": "setosa"} if status == 200 else error
        return httpx.Response(status, json=body, headers={"Retry-After": "0"})

    with httpx.Client(base_url="http://test", transport=httpx.MockTransport(answer)) as client:
        assert names["predict"](client, "iris", {}) == {"species": "setosa"}
    with (
        httpx.Client(base_url=example_server.url) as client,
        pytest.raises(RuntimeError, match="400 ValidationError: sepal_length: Field required; "),
    ):
        names["predict"](client, "iris", {})


def test_the_mistakes_shown_are_what_check_says_of_the_file_shown(tmp_path: Path) -> None:
    parts = [
        next(block for block in blocks(REPOSITORY / "README.md") if block.file == "my_models.py"),
        next(block for block in blocks(CONFIGURATION) if block.file == "broken.yaml"),
        next(block for block in blocks(CONFIGURATION, "console") if "broken.yaml" in block.text),
    ]
    with ExitStack() as servers:
        Walkthrough(tmp_path, servers).run(*parts)


def test_the_production_settings_shown_pass_the_deployment_checks(tmp_path: Path) -> None:
    (tmp_path / "rest_config.yaml").write_text("models: []", encoding="utf-8")
    with ExitStack() as servers:
        Walkthrough(tmp_path, servers).run(*blocks(RUNNING, "console"))


def test_the_decorator_shown_rounds_what_a_model_predicts(tmp_path: Path) -> None:
    (block,) = blocks(REPOSITORY / "docs" / "decorators.md", "python")
    (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    configuration = {
        "models": [
            {
                "class_path": "examples.iris.IrisModel",
                "decorators": [
                    {
                        "class_path": "rounding.RoundingDecorator",
                        "configuration": {"digits": 1},
                    }
                ],
            }
        ]
    }
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    with Server(configuration, environment={"PYTHONPATH": path}) as server:
        flower = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
        response = server.client.post("/api/models/iris/prediction", json=flower)
    assert response.json() == {"species": "setosa", "probability": 1.0}


def test_the_model_shown_predicts_columns_as_it_predicts_rows(tmp_path: Path) -> None:
    page = REPOSITORY / "docs" / "your-own-model.md"
    (block,) = [each for each in blocks(page, "python") if each.file == "houses.py"]
    # Only columns are far too dear.
    text, shown = block.text, '{"price": prices, '
    assert shown in text
    dear = text.replace(shown, '{"price": 1e6 + prices, ').replace('"house_prices"', '"dear"')
    for name, content in (("houses", text), ("dear", dear)):
        (tmp_path / f"{name}.py").write_text(content, encoding="utf-8")
    configuration = {
        "models": [{"class_path": f"{name}.HousePriceModel"} for name in ("houses", "dear")],
        "open_inference": {"enabled": True},
    }
    with Server(configuration, environment={"PYTHONPATH": str(tmp_path)}) as server:
        wrong = _infer_houses(server, "house_prices", [100.0, -1.0], [3, 1])
        assert (wrong.status_code, wrong.json()) == (
            400,
            {"error": 'Input "area", row 1: Input should be greater than 0'},
        )
        for name, more in (("house_prices", 0), ("dear", 1e6)):
            response = _infer_houses(server, name, [100.0, 42.5], [3, 1])
            length = int(response.headers["Inference-Header-Content-Length"])
            prices, bands = response.content[length : length + 16], response.content[length + 16 :]
            assert struct.unpack("<2d", prices) == (280_000 + more, 116_250 + more)
            assert bands == b"\x04\0\0\0high\x03\0\0\0low"
            houses: list[dict[str, Any]] = [
                {"area": 100, "rooms": 3, "garden": None},
                {"area": 42.5, "rooms": 1, "garden": 50},
            ]
            single = server.client.post(f"/api/models/{name}/prediction", json=houses[0])
            assert single.json() == {"price": 280_000, "band": "high"}
            batch = server.client.post(
                f"/api/models/{name}/prediction/batch", json={"inputs": houses}
            )
            assert batch.json()["predictions"] == [
                {"price": 280_000 + more, "band": "high"},
                {"price": 121_250 + more, "band": "low"},
            ]
            assert _infer_in_json(server, name, houses) == [
                {"name": "price", "data": [280_000 + more, 121_250 + more]},
                {"name": "band", "data": ["high", "low"]},
            ]


def test_the_model_shown_that_is_a_coroutine_answers(tmp_path: Path) -> None:
    page = REPOSITORY / "docs" / "your-own-model.md"
    (block,) = [each for each in blocks(page, "python") if each.file == "lookup.py"]
    (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    configuration = {"models": [{"class_path": "lookup.LookupModel"}]}
    with Server(configuration, environment={"PYTHONPATH": str(tmp_path)}) as server:
        response = server.client.post("/api/models/lookup/prediction", json={"text": "hello"})
    assert response.json() == {"text": "HELLO"}


def _infer_in_json(server: Server, name: str, houses: list[dict[str, Any]]) -> list[Any]:
    datatypes = {"area": "FP64", "rooms": "INT64", "garden": "FP64"}
    inputs = [
        {
            "name": field,
            "datatype": datatype,
            "shape": [len(houses)],
            "data": [house[field] for house in houses],
        }
        for field, datatype in datatypes.items()
    ]
    response = server.client.post(f"/v2/models/{name}/infer", json={"inputs": inputs})
    outputs = response.json()["outputs"]
    return [{"name": output["name"], "data": output["data"]} for output in outputs]


def _infer_houses(server: Server, name: str, area: list[float], rooms: list[int]) -> httpx.Response:
    """Ask in binary for two houses."""
    data = struct.pack("<2d", *area) + struct.pack("<2q", *rooms)
    inputs = [
        {
            "name": field,
            "datatype": datatype,
            "shape": [2],
            "parameters": {"binary_data_size": 16},
        }
        for field, datatype in (("area", "FP64"), ("rooms", "INT64"))
    ]
    header = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return server.client.post(
        f"/v2/models/{name}/infer",
        content=header + data,
        headers={"Inference-Header-Content-Length": str(len(header))},
    )


def test_a_value_from_the_environment_is_a_string_where_nobody_knows_its_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBER", "1")
    path = tmp_path / "rest_config.yaml"
    path.write_text(
        "models: [{class_path: a.B, create_endpoint: '${NUMBER}', configuration: {n: '${NUMBER}'}}]"
    )
    configuration = ConfigurationFile(path).configuration
    assert configuration is not None
    assert configuration.models[0].create_endpoint is True
    assert configuration.models[0].configuration == {"n": "1"}
