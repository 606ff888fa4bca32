"""What the configuration says of an artefact, put over what the artefact says of itself."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from models_api.configuration.sections import ColumnConfiguration, ModelConfiguration
from models_api.exceptions import ArtefactError
from models_api.runtimes.signature import Column, Label, Output, Signature, ValueType

_TYPES: dict[type, ValueType] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
}

_SHOWN_COLUMNS = (
    "columns:",
    "  - {name: name of a number, type: number, nullable: true}",
    "  - {name: name of a category, type: string, categories: [one, other]}",
)
"""What to write where it is not even known how many there are."""


def with_configuration(signature: Signature, configuration: ModelConfiguration) -> Signature:
    """Return the signature with what the configuration of the model says otherwise.

    Raises:
        ArtefactError: it says what does not fit the artefact, or not all that has to be said.
    """
    signature = replace(signature, inputs=_inputs(signature, configuration.columns))
    _require_types(signature)
    if configuration.labels is not None:
        signature = _with_labels(signature, tuple(configuration.labels))
    if configuration.output:
        signature = replace(signature, outputs=_chosen(signature, configuration.output))
    return signature


def type_of(labels: Sequence[Label]) -> ValueType:
    """Return the type of labels or categories; `any` if they are of several."""
    types = {_TYPES[type(label)] for label in labels}
    return types.pop() if len(types) == 1 else "any"


def columns_yaml(signature: Signature) -> str:
    """Return the key `columns` that says what is known, and asks for the rest."""
    if not signature.inputs:
        return "\n".join(_SHOWN_COLUMNS)
    return "\n".join(["columns:", *(f"  - {on_one_line(_shown(c))}" for c in signature.inputs)])


def on_one_line(value: object) -> str:
    """Return a value as YAML on one line."""
    try:
        import yaml  # noqa: PLC0415 (which the Python of a model's processes may lack)
    except ImportError:
        return json.dumps(value, ensure_ascii=False)  # which is YAML, too
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
    )
    return text.strip()


def _shown(column: Column) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": column.name}
    if column.type in (*_TYPES.values(), "unknown"):
        shown["type"] = "string" if column.type == "unknown" else column.type
    if column.nullable:
        shown["nullable"] = True
    if column.categories:
        shown["categories"] = list(column.categories)
    return shown


def _inputs(signature: Signature, columns: Sequence[ColumnConfiguration]) -> tuple[Column, ...]:
    given = {column.name: column for column in columns}
    if len(given) < len(columns):
        twice = next(column.name for column in columns if given[column.name] is not column)
        raise ArtefactError(f'the column "{twice}" is here twice', "Keep one.", key="columns")
    known = _named(signature.inputs, list(given))
    known = known or tuple(Column(name, "unknown") for name in given)
    for name in given:
        if name not in [column.name for column in known]:
            raise _unknown_column(name, known)
    return tuple(_overridden(column, given.get(column.name)) for column in known)


def _named(inputs: tuple[Column, ...], names: list[str]) -> tuple[Column, ...]:
    """Return a column for each name, where the artefact takes one array of as many."""
    if not names or len(inputs) != 1 or len(inputs[0].shape) != 1 or names == [inputs[0].name]:
        return inputs
    whole, (size,) = inputs[0], inputs[0].shape
    if size is not None and size != len(names):
        message = f"the artefact takes {size} columns, and {len(names)} are named here"
        raise ArtefactError(message, "Name each of them, in the order of the array.", key="columns")
    return tuple(replace(whole, name=name, shape=()) for name in names)


def _overridden(column: Column, given: ColumnConfiguration | None) -> Column:
    if given is None:
        return column
    said: dict[str, Any] = {
        name: getattr(given, name)
        for name in given.model_fields_set - {"name"}
        if getattr(given, name) is not None
    }
    if "categories" in said:
        said["categories"] = tuple(said["categories"])
        if said["categories"] and "type" not in said:
            said["type"] = type_of(said["categories"])
    elif said.get("type", column.type) != column.type:
        said.setdefault("categories", ())
    return replace(column, **said)


def _unknown_column(name: str, known: Sequence[Column]) -> ArtefactError:
    names = [column.name for column in known]
    nearest = difflib.get_close_matches(name, names, n=1)
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    hint = f'Did you mean "{nearest[0]}"?' if nearest else f"Its columns are {shown}."
    return ArtefactError(f'the artefact has no column "{name}"', hint, key="columns")


def _require_types(signature: Signature) -> None:
    if not signature.inputs:
        text = "\n    ".join(_SHOWN_COLUMNS)
        hint = f"Add its columns, in their order, and what each is:\n    {text}\n{signature.advice}"
        raise ArtefactError("the artefact does not say what it takes", hint.strip())
    unknown = [column.name for column in signature.inputs if column.type == "unknown"]
    if not unknown:
        return
    message = f"the artefact does not say of which type these columns are: {', '.join(unknown)}"
    text = columns_yaml(signature).replace("\n", "\n    ")
    hint = f"Correct their types (number, integer, boolean, string), and add it:\n    {text}"
    raise ArtefactError(message, hint, key="columns")


def _with_labels(signature: Signature, labels: tuple[Label, ...]) -> Signature:
    if not any(output.of_classes for output in signature.outputs):
        message = "the artefact has no classes to name"
        raise ArtefactError(message, "Remove labels.", key="labels")
    shapes = {output.shape for output in signature.outputs if output.of_classes and output.shape}
    (count,) = shapes.pop() if len(shapes) == 1 else (len(signature.labels) or None,)
    if len(labels) != (count or len(labels)) or len(set(map(str, labels))) != len(labels):
        message = f"the artefact has {count} classes, and {len(set(labels))} are named here"
        hint = "Name each of them once, in the order of their probabilities."
        raise ArtefactError(message, hint, key="labels")
    outputs = tuple(_relabelled(output, labels) for output in signature.outputs)
    return replace(signature, outputs=outputs, labels=labels)


def _relabelled(output: Output, labels: tuple[Label, ...]) -> Output:
    if not output.of_classes:
        return output
    if output.by_label or output.shape:
        return replace(output, labels=labels, by_label=True, shape=())
    return replace(output, labels=labels, type=type_of(labels))


def _chosen(signature: Signature, names: Sequence[str]) -> tuple[Output, ...]:
    known = {output.name: output for output in signature.outputs}
    for name in names:
        if name not in known:
            hint = f"There are {', '.join(known)}."
            raise ArtefactError(f'the artefact has no output "{name}"', hint, key="output")
    return tuple(known[name] for name in dict.fromkeys(names))
