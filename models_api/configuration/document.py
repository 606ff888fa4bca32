"""A YAML file as Python values, with the line of each, and everything that is wrong with it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from models_api.exceptions import Problem

UNREADABLE = "models_api.E001"
INVALID_YAML = "models_api.E002"
UNSET_VARIABLE = "models_api.E004"

Key = str | int

_STRING_TAG = "tag:yaml.org,2002:str"
# `$${` stands for a literal `${`; the last branch catches what looks like a reference but is none.
_REFERENCE = re.compile(
    r"(?P<literal>\$\$\{)"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-(?P<default>[^}]*))?\}"
    r"|(?P<malformed>\$\{[^}]*\}?)"
)
# Values of the environment that are shorter are no secrets, and stand in messages by chance.
_SHORTEST_SECRET = 4
_PLAIN_HINT = "Write a plain value: a string, number, boolean, list or mapping."
_UNCLOSED = re.compile("unexpected end of stream|<stream end>")
# What PyYAML reports, and how to mend it.
_SYNTAX_HINTS = (
    ("'\\t'", "Indent with spaces: YAML takes no tabs there."),
    ("cannot start any token", "Put the value in quotes."),
    ("mapping values are not allowed", "Put a value that has a colon in it in quotes."),
    ("another document", "Remove the line `---` between them, or one of the two."),
    ("undefined alias", "Put a value that begins with an asterisk in quotes."),
    ("unhashable key", "Put a value that begins with a brace or a bracket in quotes."),
    ("but got '{'", "Put ${NAME} in quotes where brackets or braces surround it."),
    ("<stream end>", "Close the bracket or brace that is opened on that line."),
    ("<block end>", "Align the keys of a mapping with each other, and the dashes of a list."),
    ("unexpected end of stream", "Close the quotation mark that is opened on that line."),
    ("", "Mend the YAML: check the indentation, quotes and brackets around that line."),
)


def key_path(keys: Sequence[Key]) -> str:
    """Return keys and indexes as one path: `models[0].class_path`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".")


class YAMLDocument:
    """The values of one YAML file. Reading it never raises: `problems` lists what is wrong.

    `data` is None where nothing could be read.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """Read the file; with `content`, take that for what is in it."""
        self.path = path
        self.content = content
        """What was read; None where that was not possible."""
        self.data: object = None
        self.problems: list[Problem] = []
        self._root: yaml.Node | None = None
        self._broken: set[int] = set()
        self._keys: dict[int, tuple[Key, ...]] = {}
        self._before_interpolation: dict[int, str] = {}
        self._references: dict[str, str] = {}
        """By what came from the environment: how the file refers to it."""
        text = self._read()
        if text is not None:
            self._parse(text)

    def problem(self, id_: str, keys: Sequence[Key], message: str, hint: str) -> Problem:
        """Describe a problem of the value at these keys, or of the whole file if there are none."""
        return self.problem_on(self._line(keys), id_, keys, message, hint)

    def problem_on(
        self, line: int | None, id_: str, keys: Sequence[Key], message: str, hint: str
    ) -> Problem:
        """Describe a problem on a line that the keys do not lead to."""
        shown, advised = self._without_secrets(message), self._without_secrets(hint)
        return Problem(id_, str(self.path), line, key_path(keys), shown, advised)

    def is_broken(self, keys: Sequence[Key]) -> bool:
        """Whether the value at these keys has a problem already, so that another would be noise."""
        node = self._value(keys)
        return node is not None and id(node) in self._broken

    def written(self, keys: Sequence[Key]) -> str | None:
        """Return the scalar at these keys as it stands in the file; None for a mapping or a list.

        What comes from the environment is not filled in: it may be a secret.
        """
        node = self._value(keys)
        if not isinstance(node, yaml.ScalarNode):
            return None
        return self._before_interpolation.get(id(node), str(node.value))

    def odd_keys(self, keys: Sequence[Key]) -> list[tuple[int, str]]:
        """Return line and text of the mapping's keys that YAML does not read as strings."""
        node = self._value(keys)
        if not isinstance(node, yaml.MappingNode):
            return []
        return [
            (key.start_mark.line + 1, str(key.value))
            for key, _ in node.value
            if key.tag != _STRING_TAG
        ]

    def _read(self) -> str | None:
        line, hint = None, "Name an existing file in the environment variable REST_CONFIG."
        try:
            if self.content is None:
                self.content = self.path.read_bytes()
            return self.content.decode("utf-8-sig")
        except FileNotFoundError:
            message = f"there is no such file (looked for {self.path.absolute()})"
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            message = f"the byte 0x{error.object[error.start]:02x} is not UTF-8 text"
            hint = "Save the file in the encoding UTF-8."
        except (OSError, ValueError) as error:
            message = f"the file cannot be read ({getattr(error, 'strerror', None) or error})"
        self._note(UNREADABLE, line, (), message, hint)
        return None

    def _parse(self, text: str) -> None:
        try:
            loader = _CollectingLoader(text)
            root = loader.get_single_node()
            if root is None:
                hint = "List at least one model: `models: [{class_path: my_package.MyModel}]`."
                self._note(INVALID_YAML, None, (), "the file is empty", hint)
                return
            self._root = root
            if self._inspect(root):
                self.data = loader.construct_document(root)
        except yaml.MarkedYAMLError as error:
            self._note_syntax(error)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            message = f"not valid YAML: it holds the character {chr(error.character)!r}"
            self._note(INVALID_YAML, line, (), message, "Remove it, or write it as an escape.")
        except RecursionError:
            self._root = self.data = None
            self._note(
                INVALID_YAML, None, (), "the values are nested too deeply", "Nest less deeply."
            )
        else:
            for node, reason, hint in loader.failures:
                self._note_at(node, INVALID_YAML, reason, hint)

    def _note_syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        if _UNCLOSED.search(error.problem or ""):
            mark = error.context_mark or mark  # where the thing begins that nobody closes
        line = mark.line + 1 if mark else None
        message = ", ".join(part for part in (error.context, error.problem) if part)
        hint = next(hint for said, hint in _SYNTAX_HINTS if said in message)
        self._note(INVALID_YAML, line, (), f"not valid YAML: {message}", hint)

    def _inspect(self, root: yaml.Node) -> bool:
        """Fill in environment variables, note duplicate keys; False if an alias contains itself."""

        def visit(node: yaml.Node, keys: tuple[Key, ...], around: frozenset[int]) -> bool:
            if id(node) in around:
                message = "an alias refers to the value that contains it"
                self._note(INVALID_YAML, self._line(keys), keys, message, "Write the value out.")
                return False
            if id(node) in self._keys:
                return True
            self._keys[id(node)] = keys
            if isinstance(node, yaml.ScalarNode):
                self._interpolate(node)
            elif isinstance(node, yaml.MappingNode):
                self._note_duplicates(node)
            inside = around | {id(node)}
            results = [visit(child, (*keys, key), inside) for key, child in _children(node)]
            return all(results)

        return visit(root, (), frozenset())

    def _note_duplicates(self, node: yaml.MappingNode) -> None:
        first_lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in first_lines:
                keys = (*self._keys[id(node)], key.value)
                message = f"this key is here twice (first on line {first_lines[key.value]})"
                self._note(INVALID_YAML, line, keys, message, "Keep one of the two.")
            first_lines.setdefault(key.value, line)

    def _interpolate(self, node: yaml.ScalarNode) -> None:
        if node.tag != _STRING_TAG or "${" not in node.value:
            return

        def replacement(match: re.Match[str]) -> str:
            if match["literal"]:
                return "${"
            if match["malformed"]:
                hint = "Write ${NAME} or ${NAME:-default}; write $${ for a literal ${."
                message = f"{match['malformed']!r} is not a reference to an environment variable"
                self._note_at(node, UNSET_VARIABLE, message, hint)
                return ""
            value = os.environ.get(match["name"])
            if match["fallback"] and not value:
                return match["default"]
            if value is None:
                hint = f"Set it, or give a default: ${{{match['name']}:-default}}."
                message = f"the environment variable {match['name']} is not set"
                self._note_at(node, UNSET_VARIABLE, message, hint)
            if value and len(value) >= _SHORTEST_SECRET:
                self._references[value] = match[0]
            return value or ""

        self._before_interpolation[id(node)] = node.value
        node.value = _REFERENCE.sub(replacement, node.value)

    def _without_secrets(self, text: str) -> str:
        for value in sorted(self._references, key=len, reverse=True):
            text = text.replace(value, self._references[value])
        return text

    def _steps(self, keys: Sequence[Key]) -> list[tuple[yaml.Node, yaml.Node]]:
        """Return (node of the key, node of its value) as far as the keys lead, from the root on."""
        if self._root is None:
            return []
        steps = [(self._root, self._root)]
        for key in keys:
            step = _child(steps[-1][1], key)
            if step is None:
                break
            steps.append(step)
        return steps

    def _line(self, keys: Sequence[Key]) -> int | None:
        steps = self._steps(keys)
        return steps[-1][0].start_mark.line + 1 if steps else None

    def _value(self, keys: Sequence[Key]) -> yaml.Node | None:
        steps = self._steps(keys)
        return steps[-1][1] if len(steps) == len(keys) + 1 else None

    def _note_at(self, node: yaml.Node, id_: str, message: str, hint: str) -> None:
        self._broken.add(id(node))
        self._note(id_, node.start_mark.line + 1, self._keys.get(id(node), ()), message, hint)

    def _note(
        self, id_: str, line: int | None, keys: Sequence[Key], message: str, hint: str
    ) -> None:
        self.problems.append(self.problem_on(line, id_, keys, message, hint))


class _CollectingLoader(yaml.SafeLoader):
    """A safe loader that notes each value which it cannot build, and goes on with the next."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.failures: list[tuple[yaml.Node, str, str]] = []
        """Node, what is wrong with it, and how to mend it."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep=deep)
        except yaml.constructor.ConstructorError as error:
            reason = str(error.problem or error.context)
            if reason.startswith("could not determine a constructor"):
                reason = f"the tag {_short(node.tag)} is not allowed"
            self.failures.append((node, reason, _PLAIN_HINT))
        except (ValueError, KeyError, TypeError, OverflowError):
            # PyYAML raises these for scalars such as `2026-99-99` and `!!bool perhaps`.
            type_ = _short(node.tag).removeprefix("!!")
            reason = f"YAML takes {node.value} for a value of the type {type_}, which it is not"
            self.failures.append((node, reason, f'Quote it: "{node.value}"'))
        self.recursive_objects.pop(node, None)
        return None


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _children(node: yaml.Node) -> list[tuple[Key, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return list(enumerate(node.value))
    return []


def _child(node: yaml.Node, key: Key) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        # The last of duplicate keys is the one that counts.
        pairs = [pair for pair in node.value if pair[0].value == str(key)]
        return pairs[-1] if pairs else None
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key]
    return None
