"""What the author of a YAML file may do wrong, and the sentence: what, where, how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_api.configuration.file import ConfigurationFile
from models_api.exceptions import ConfigurationError
from models_api.hosting.assembly import build_registry

MODEL = "class_path: tests.fakes.models.DoublingModel"
OTHER = "class_path: tests.fakes.models.LateModel"

MISTAKES: dict[str, tuple[str | bytes | None, tuple[str, ...]]] = {
    "no file": (None, ("there is no such file (looked for ", "service.yaml", "REST_CONFIG")),
    "an empty file": ("", ("service.yaml: the file is empty", "List at least one model")),
    "comments only": ("# models\n", ("service.yaml: the file is empty", "List at least one model")),
    "another encoding": (
        "service_title: Größe".encode("latin-1"),
        ("service.yaml:1", "0xf6 is not UTF-8", "Save the file in the encoding UTF-8"),
    ),
    "a list for the whole": (
        f"- {MODEL}\n", ("service.yaml:1", "should be a mapping", "Begin with one of the keys"),
    ),
    "a word for the whole": (
        "models\n", ("service.yaml:1", 'not the string "models"', "Begin with one of the keys"),
    ),
    "a tab": (f"models:\n\t- {MODEL}\n", ("service.yaml:2", "Indent with spaces")),
    "a key that is there twice": (
        f"version: a\nversion: b\nmodels: [{{{MODEL}}}]\n",
        ("service.yaml:2: version", "this key is here twice (first on line 1)", "Keep one"),
    ),
    "a bracket that nobody closes": (
        "models: [\n", ("service.yaml:2", "Close the bracket or brace"),
    ),
    "a quotation mark that nobody closes": (
        'version: "1\n', ("service.yaml:1", "Close the quotation mark"),
    ),
    "a colon in a value": (
        "service_title: Flats: rent\n", ("service.yaml:1", "not valid YAML", "in quotes"),
    ),
    "a key that is not aligned": (
        f"models:\n  - {MODEL}\n   timeout_seconds: 1\n", ("service.yaml:3", "not valid YAML",),
    ),
    "two documents": ("version: a\n---\nversion: b\n", ("service.yaml:2", "Remove the line `---`")),
    "a misspelt key": (
        f"modles:\n  - {MODEL}\n",
        ("service.yaml:1: modles", 'unknown key "modles"', 'Did you mean "models"?'),
    ),
    "a misspelt key of a model": (
        f"models:\n  - {MODEL}\n    timeout_secs: 1\n",
        ("service.yaml:3: models[0].timeout_secs", 'Did you mean "timeout_seconds"?'),
    ),
    "an unknown kind of execution": (
        f"models:\n  - {MODEL}\n    execution: {{kind: fork}}\n",
        ("models[0].execution.kind", "'thread', 'process' or 'remote'", 'not the string "fork"'),
    ),
    "a kind where its section should be": (
        f"models:\n  - {MODEL}\n    execution: process\n",
        ("models[0].execution", "should be a mapping", "Its keys are kind, processes"),
    ),
    "processes of a model on threads": (
        f"models:\n  - {MODEL}\n    execution: {{processes: 2}}\n",
        ("models[0].execution: processes goes with kind: process only", "Write kind: process"),
    ),
    "a remote model without a URL": (
        f"models:\n  - {MODEL}\n    execution: {{kind: remote}}\n",
        ("models[0].execution: kind: remote needs a url", "such as url: http://models.internal"),
    ),
    "a remote model without a name": (
        "models:\n  - execution: {kind: remote, url: 'http://a'}\n",
        ("models[0]: kind: remote needs a qualified_name", "qualified_name: iris"),
    ),
    "a URL of another kind": (
        "models:\n  - execution: {kind: remote, url: 'ftp://a'}\n",
        ("models[0].execution.url: this is no URL of a service", "http://models.internal:8000"),
    ),
    "a port that is none": (
        "models:\n  - execution: {kind: remote, url: 'http://a:80000'}\n",
        ("models[0].execution.url: this is no URL of a service",),
    ),
    "a URL with a query": (
        "models:\n  - execution: {kind: remote, url: 'http://a/b?c=1'}\n",
        ("models[0].execution.url: a URL here ends with its path", "Leave out"),
    ),
    "keys of processes for a remote model": (
        "models:\n  - execution: {kind: remote, url: 'http://a', nice: 1, processes: 2}\n",
        ("models[0].execution: nice, processes goes with kind: process only",),
    ),
    "a key of two kinds for a model on threads": (
        f"models:\n  - {MODEL}\n    execution: {{retry: true}}\n",
        ("models[0].execution: retry goes with kind: process or remote only",),
    ),
    "a remote model's key for a process": (
        f"models:\n  - {MODEL}\n    execution: {{kind: process, url: 'http://a'}}\n",
        ("models[0].execution: url goes with kind: remote only", "Write kind: remote"),
    ),
    "a certificate without TLS": (
        "models:\n  - execution: {kind: remote, url: 'http://a', ca_file: a.pem}\n",
        ("ca_file goes with a url that begins with https only", "Write https://"),
    ),
    "a key without its certificate": (
        "models:\n  - execution: {kind: remote, url: 'https://a', client_key: a.pem}\n",
        ("client_key needs client_certificate",),
    ),
    "one schema of two": (
        "models:\n  - execution: {kind: remote, url: 'http://a',\n"
        "      input_schema: models_api.api.bodies.Error}\n",
        ("input_schema and output_schema go together", "Name both classes, or none"),
    ),
    "a version where there is one only": (
        "models:\n  - execution: {kind: remote, url: 'http://a', version: '1'}\n",
        ("version goes with protocol: open_inference only",),
    ),
    "batches of a remote model": (
        "models:\n  - qualified_name: a\n    batching: {}\n"
        "    execution: {kind: remote, url: 'http://a'}\n",
        ("models[0]: batching goes with a class", "the service that has the class"),
    ),
    "a number for an environment variable": (
        f"models:\n  - {MODEL}\n    execution: {{kind: process, environment: {{N: 1}}}}\n",
        ("models[0].execution.environment.N", "should be a string", 'Quote it: N: "1"'),
    ),
    "a key of another service": (
        "port: 80\n", ("service.yaml:1: port", 'unknown key "port"', "Known keys here: service"),
    ),
    "a model without a class path": (
        "models:\n  - qualified_name: rent\n",
        ("service.yaml:2: models[0].class_path", "is missing", "For example my_package"),
    ),
    "a bare class path": (
        "models:\n  - my_models.RentModel\n",
        ("service.yaml:2: models[0]", "Write it as class_path: my_models.RentModel"),
    ),
    "a mapping for a list": (
        f"models:\n  {MODEL}\n",
        ("service.yaml:1: models", "should be a list", "with a dash before each item"),
    ),
    "a list for a mapping": (
        f"models:\n  - {MODEL}\n    configuration: [1]\n",
        ("service.yaml:3: models[0].configuration", "should be a mapping", "Keyword arguments"),
    ),
    "a version without quotes": (
        "version: 1.10\n",
        ("service.yaml:1: version", "not the number 1.10", 'Quote it: version: "1.10"'),
    ),
    "a date without quotes": (
        "version: 2026-11-28\n",
        ("service.yaml:1: version", "not the date 2026-11-28", "Quote it"),
    ),
    "yes for a title": (
        "service_title: yes\n", ("service.yaml:1: service_title", "the boolean yes", "Quote it"),
    ),
    "no value": (
        "service_title:\n", ("service.yaml:1: service_title", "no value here", "or remove the key"),
    ),
    "a word for a number": (
        f"models:\n  - {MODEL}\n    timeout_seconds: soon\n",
        ("service.yaml:3: models[0].timeout_seconds", 'should be a number, not the string "soon"',
         "Seconds that a request waits"),
    ),
    "a number that is too small": (
        f"models:\n  - {MODEL}\n    timeout_seconds: 0\n",
        ("service.yaml:3", "should be greater than 0, not the number 0", "Seconds that"),
    ),
    "a fraction of a row": (
        f"models:\n  - {MODEL}\n    batching: {{max_batch_size: 1.5}}\n",
        ("service.yaml:3: models[0].batching.max_batch_size", "a whole number", "Rows that"),
    ),
    "a word for a switch": (
        "metrics: {enabled: sometimes}\n",
        ("service.yaml:1: metrics.enabled", "should be true or false", "Whether metrics"),
    ),
    "a variable that is not set": (
        "description: ${NOBODY_SETS_THIS}\n",
        ("service.yaml:1: description", "NOBODY_SETS_THIS is not set", "or give a default"),
    ),
    "a reference that is none": (
        "description: ${NOT A NAME}\n",
        ("service.yaml:1: description", "not a reference", "Write ${NAME} or ${NAME:-default}"),
    ),
    "the same model twice": (
        f"models:\n  - {MODEL}\n  - {MODEL}\n",
        ("service.yaml:3: models[1].class_path", 'the qualified name "doubling" already',
         "Remove one of the two"),
    ),
    "a class path with slashes": (
        "models:\n  - class_path: my_models/RentModel\n",
        ("service.yaml:2: models[0].class_path", "is not a class path", "with dots between"),
    ),
    "the name of a file": (
        "models:\n  - class_path: my_models.py\n",
        ("service.yaml:2: models[0].class_path", 'there is no module "my_models"', "folder"),
    ),
    "a class path without a dot": (
        "models:\n  - class_path: RentModel\n",
        ("service.yaml:2: models[0].class_path", "is not a class path", "with dots between"),
    ),
    "a decorator without a class path": (
        f"models:\n  - {MODEL}\n    decorators:\n      - configuration: {{a: 1}}\n",
        ("service.yaml:4: models[0].decorators[0].class_path", "is missing", "MyDecorator"),
    ),
    "an argument that the class does not take": (
        f"models:\n  - {MODEL}\n    configuration: {{factr: 1}}\n",
        ("service.yaml:3: models[0].configuration", "unexpected keyword argument 'factr'",
         "Its signature is"),
    ),
    "logging without a version": (
        "logging: {handlers: {}}\n",
        ("service.yaml:1: logging", "Add this line: version: 1"),
    ),
    "a level that is none": (
        "logging: {version: 1, root: {level: LOUD}}\n",
        ("service.yaml:1: logging.root", "LOUD", "logging.config"),
    ),
    "a header that is none": (
        "request_headers: ['X Tenant']\n",
        ("service.yaml:1: request_headers[0]", "is no name of a header", "as in X-Tenant"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_in_a_file_gets_its_sentence(name: str, tmp_path: Path) -> None:
    content, parts = MISTAKES[name]
    path = tmp_path / "service.yaml"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    file = ConfigurationFile(path)
    file.apply_logging()
    with pytest.raises(ConfigurationError) as caught:
        build_registry(file)
    (problem,) = caught.value.problems
    sentence = str(problem).replace(f"{tmp_path}/", "", 1)
    assert [part for part in parts if part not in sentence] == [], sentence
    assert problem.hint


def test_there_are_plenty_of_them() -> None:
    assert len(MISTAKES) >= 35
