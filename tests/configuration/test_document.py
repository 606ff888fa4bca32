"""Reading YAML: values, lines, references to the environment, and everything that can be wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_api.configuration.document import YAMLDocument, key_path


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(content: str | bytes) -> YAMLDocument:
        path = tmp_path / "service.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return YAMLDocument(path)

    return read


def texts(document: YAMLDocument) -> list[str]:
    """The problems, with the name of the file alone."""
    return [str(each).replace(str(document.path), "service.yaml") for each in document.problems]


@pytest.mark.parametrize(
    ("keys", "written"),
    [
        ((), ""),
        (("models",), "models"),
        (("models", 0, "class_path"), "models[0].class_path"),
        ((0, 1), "[0][1]"),
    ],
)
def test_a_key_path_is_written_as_people_write_it(keys: Any, written: str) -> None:
    assert key_path(keys) == written


def test_values_have_the_types_that_yaml_gives_them(read: Any) -> None:
    document = read("a: 1\nb: [x, 2.5, yes, ~]\nc: {d: 2026-11-22}\n")
    assert document.problems == []
    assert document.data == yaml.safe_load("a: 1\nb: [x, 2.5, yes, ~]\nc: {d: 2026-11-22}\n")


def test_a_byte_order_mark_is_no_part_of_the_first_key(read: Any) -> None:
    assert read(b"\xef\xbb\xbfversion: a\r\n").data == {"version": "a"}


def test_anchors_and_merge_keys_work(read: Any) -> None:
    text = "base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  b: 3\n"
    document = read(text)
    assert document.problems == []
    assert document.data["other"] == {"a": 1, "b": 3}
    assert document.written(("other", "b")) == "3"
    assert document.problem("id", ("other", "a"), "", "").line == 1
    assert document.problem("id", ("other", "b"), "", "").line == 4


def test_a_problem_points_at_the_line_of_its_key_or_of_what_comes_nearest(read: Any) -> None:
    document = read("a:\n  - b: 1\n    c:\n      d: 2\n  -\n    b: 3\n")
    lines = {
        (): 1,
        ("a",): 1,
        ("a", 0, "b"): 2,
        ("a", 0, "c", "d"): 4,
        ("a", 0, "missing"): 2,
        ("a", 1, "b"): 6,
        ("a", 7): 1,
        ("nowhere", "at", "all"): 1,
    }
    assert {keys: document.problem("id", keys, "", "").line for keys in lines} == lines


def test_the_written_form_of_a_scalar_is_kept(read: Any) -> None:
    document = read("version: 1.10\nflag: yes\nlist: [1]\n")
    assert document.written(("version",)) == "1.10"
    assert document.written(("flag",)) == "yes"
    assert document.written(("list",)) is None
    assert document.written(("missing",)) is None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${NAME}", "x y"),
        ('"<${NAME}>"', "<x y>"),
        ("${NAME}${NAME}", "x yx y"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${UNSET:-default}", "default"),
        ("${UNSET:-}", ""),
        ('"${UNSET:-a: b}"', "a: b"),
        ("${NAME:-default}", "x y"),
        ("$${NAME}", "${NAME}"),
        ("$NAME costs $5", "$NAME costs $5"),
        ("'{NAME}'", "{NAME}"),
    ],
)
def test_references_are_filled_in(
    read: Any, monkeypatch: pytest.MonkeyPatch, written: str, value: str
) -> None:
    monkeypatch.setenv("NAME", "x y")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    document = read(f"key: {written}\n")
    assert document.problems == []
    assert document.data == {"key": value}


def test_what_the_environment_holds_is_no_yaml(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "1\nb: ${OTHER}")
    assert read("a: ${NAME}\n").data == {"a": "1\nb: ${OTHER}"}


def test_what_came_from_the_environment_is_not_told(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    monkeypatch.setenv("SHORT", "key")
    document = read("a: before ${TOKEN} ${SHORT}\nb: ${TOKEN:-default}\n")
    assert document.data == {"a": "before hunter2 key", "b": "hunter2"}
    assert document.written(("a",)) == "before ${TOKEN} ${SHORT}"
    problem = document.problem("id", ("b",), "hunter2 is no key", "Write another than hunter2.")
    # A short value may stand in a text by chance.
    assert str(problem).replace(str(document.path), "service.yaml") == (
        "service.yaml:2: b: ${TOKEN:-default} is no key\n    Write another than ${TOKEN:-default}."
    )


def test_references_stand_in_values_only(read: Any) -> None:
    document = read("${KEY}: 1\n")
    assert document.data == {"${KEY}": 1}


def test_a_value_with_a_problem_is_known_to_be_broken(read: Any) -> None:
    document = read("a: ${VARIABLE_THAT_NOBODY_SET}\nb: ok\n")
    assert texts(document) == [
        "service.yaml:1: a: the environment variable VARIABLE_THAT_NOBODY_SET is not set\n"
        "    Set it, or give a default: ${VARIABLE_THAT_NOBODY_SET:-default}."
    ]
    assert document.is_broken(("a",))
    assert not document.is_broken(("b",))
    assert not document.is_broken(("a", "deeper"))


def test_an_anchored_value_is_reported_once(read: Any) -> None:
    assert len(texts(read("a: &a ${VARIABLE_THAT_NOBODY_SET}\nb: *a\nc: *a\n"))) == 1


def test_odd_keys_are_found_with_their_lines(read: Any) -> None:
    document = read("a: 1\n5: 2\n'6': 3\non: 4\n")
    assert document.odd_keys(()) == [(2, "5"), (4, "on")]
    assert document.odd_keys(("a",)) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            b"",
            "service.yaml: the file is empty\n"
            "    List at least one model: `models: [{class_path: my_package.MyModel}]`.",
        ),
        (
            "version: a".encode("utf-16"),
            "service.yaml:1: the byte 0xff is not UTF-8 text\n"
            "    Save the file in the encoding UTF-8.",
        ),
        (
            b"a: &a [*a]",
            "service.yaml:1: a[0]: an alias refers to the value that contains it\n"
            "    Write the value out.",
        ),
        (
            b"a: !!int many",
            "service.yaml:1: a: YAML takes many for a value of the type int, which it is not\n"
            '    Quote it: "many"',
        ),
        (
            b"a: !!bool perhaps",
            "service.yaml:1: a: YAML takes perhaps for a value of the type bool, which it is not\n"
            '    Quote it: "perhaps"',
        ),
        (
            b"<<: 5",
            "service.yaml:1: not valid YAML: while constructing a mapping, "
            "expected a mapping or list of mappings for merging, but found scalar\n"
            "    Mend the YAML: check the indentation, quotes and brackets around that line.",
        ),
    ],
)
def test_a_problem_of_the_file_is_explained(read: Any, content: bytes, problem: str) -> None:
    assert texts(read(content)) == [problem]


def test_a_file_that_is_not_there_is_a_problem_with_its_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    document = YAMLDocument(Path("nowhere.yaml"))
    assert document.data is None
    assert [str(each) for each in document.problems] == [
        f"nowhere.yaml: there is no such file (looked for {tmp_path / 'nowhere.yaml'})\n"
        "    Name an existing file in the environment variable REST_CONFIG."
    ]


def test_a_folder_is_not_read(tmp_path: Path) -> None:
    assert YAMLDocument(tmp_path).problems[0].message == (
        "the file cannot be read (Is a directory)"
    )


def test_a_path_that_no_system_takes_is_a_problem() -> None:
    assert YAMLDocument(Path("a\0b")).problems[0].message == (
        "the file cannot be read (embedded null byte)"
    )


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
_PER_EXAMPLE = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150
)


@_PER_EXAMPLE
@given(_VALUES, st.booleans())
def test_all_values_are_read_as_pyyaml_reads_them(tmp_path: Path, value: Any, flow: bool) -> None:
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=flow)
    if "${" in text:
        return
    (tmp_path / "any.yaml").write_text(text, encoding="utf-8", newline="")
    document = YAMLDocument(tmp_path / "any.yaml")
    assert document.problems == []
    assert document.data == yaml.safe_load(text)


@_PER_EXAMPLE
@given(
    st.binary(max_size=60)
    | st.text(alphabet="ab:-[]{}&*!|>'\"%@`#?,~<\t \n0123$\ufeff\x85", max_size=60).map(str.encode)
)
def test_no_content_at_all_makes_reading_raise(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "any.yaml").write_bytes(content)
    document = YAMLDocument(tmp_path / "any.yaml")
    for problem in document.problems:
        assert problem.message
        assert problem.hint
        assert "\n" not in problem.message
