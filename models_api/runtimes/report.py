"""What an artefact is, what it takes and gives, and the YAML for it: for people to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from models_api.runtimes.kinds import KINDS
from models_api.runtimes.overrides import columns_yaml, on_one_line
from models_api.runtimes.signature import Column, Label, Output, SavedSignature, Signature

_SHOWN_LABELS = 10


def report(artefact: Path, saved: SavedSignature) -> str:
    """Describe an artefact."""
    signature = saved.signature
    return "\n".join(
        [
            f"{artefact.name}: {KINDS[saved.runtime].title} (runtime: {saved.runtime})",
            f"{signature.summary} Read by {signature.library}; SHA-256 {saved.sha256[:12]}.",
            "",
            "It takes",
            *_table((column.name, _of_column(column)) for column in signature.inputs),
            "",
            "It gives",
            *_table((output.name, _of_output(output)) for output in signature.outputs),
            "",
            "For the YAML file",
            "",
            entry_yaml(artefact, saved),
        ]
    )


def entry_yaml(artefact: Path, saved: SavedSignature) -> str:
    """Return the YAML of a model that is made from an artefact; what need not be said, as comment.

    Args:
        artefact: Its path as it is to be written.
        saved: Its signature.
    """
    lines = ["models:", f"  - artefact: {on_one_line(str(artefact)).removesuffix('...').strip()}"]
    if KINDS[saved.runtime].executes_code:
        lines.append("    trusted: true")
    elif saved.signature.types:
        lines.append(f"    trusted: {on_one_line(list(saved.signature.types))}")
    inputs = saved.signature.inputs
    is_needed = not inputs or any(column.type == "unknown" for column in inputs)
    mark = "" if is_needed else "# "
    if not is_needed:
        lines.append("    # Known already; write it to say otherwise, or more:")
    lines += [f"    {mark}{line}" for line in _columns_yaml(saved.signature).splitlines()]
    lines += _labels_yaml(saved.signature)
    return "\n".join(lines)


def _columns_yaml(signature: Signature) -> str:
    if not signature.inputs:
        return columns_yaml(signature)
    first, *others = signature.inputs
    if others or len(first.shape) != 1 or first.shape[0] is None:
        return columns_yaml(signature)
    names = [f"name of {position}" for position in range(1, first.shape[0] + 1)]
    return f"columns: {on_one_line(names)}"


def _labels_yaml(signature: Signature) -> list[str]:
    labels = signature.labels
    if not labels or not all(type(label) is int for label in labels):
        return []
    return [f"    # labels: {on_one_line([f'name of {label}' for label in labels])}"]


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    listed = list(rows) or [("?", "it does not say")]
    width = max(len(name) for name, _ in listed)
    return [f"  {name:{width}}  {text}".rstrip() for name, text in listed]


def _of_column(column: Column) -> str:
    missing = ", may be missing" if column.nullable else ""
    return f"{_typed(column.type, column.shape)}{missing}{_listed(column.categories)}"


def _of_output(output: Output) -> str:
    by_label = " by label" if output.by_label else ""
    return f"{_typed(output.type, output.shape)}{by_label}{_listed(output.labels)}"


def _typed(type_: str, shape: Sequence[int | None]) -> str:
    sizes = " x ".join("any" if size is None else str(size) for size in shape)
    return f"list of {sizes} {type_}s" if sizes else type_


def _listed(labels: Sequence[Label]) -> str:
    if not labels:
        return ""
    more = ", ..." if len(labels) > _SHOWN_LABELS else ""
    return f": {', '.join(map(str, labels[:_SHOWN_LABELS]))}{more}"
