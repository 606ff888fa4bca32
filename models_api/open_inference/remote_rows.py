"""Between the JSON of rows and the tensors that another service takes and gives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy
from pydantic_core import from_json, to_json

from models_api.exceptions import InputProblem, InvalidInput, TensorError
from models_api.open_inference.binary_tensors import write_binary
from models_api.open_inference.columns import ANY_LENGTH, Column
from models_api.open_inference.datatypes import DATATYPES, Datatype, missing
from models_api.open_inference.json_tensors import read_json
from models_api.open_inference.remote_contract import Contract
from models_api.open_inference.tensors import Tensor

_EXPECTED = {"b": "a boolean", "i": "an integer", "u": "an integer", "f": "a number", "O": "text"}


class Group(NamedTuple):
    """Rows that go into tensors together, as they have the same fields with equal shapes."""

    indexes: Sequence[int]
    inputs: Sequence[Tensor]


class _Form(NamedTuple):
    """How the value of a field goes into a tensor."""

    name: str
    shape: tuple[int, ...] | None
    """None where it goes as JSON in BYTES."""


def groups_of(rows: Sequence[object], contract: Contract) -> list[Group]:
    """Return tensors for rows.

    Raises:
        InvalidInput: a value has no place in its tensor, or there is none at all.
    """
    fields = [_fields(row, index, contract) for index, row in enumerate(rows)]
    forms = [
        tuple([_form(index, name, value, contract) for name, value in row.items()])
        for index, row in enumerate(fields)
    ]
    alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(forms):
        # Where any field may be JSON, rows need not be of the same shape.
        key = tuple([each.name for each in row]) if contract.takes_json else row
        alike[key if contract.is_batched else (index,)].append(index)
    return [
        Group(
            indexes,
            [
                _tensor(_common(column), fields, indexes, contract)
                for column in zip(*[forms[index] for index in indexes], strict=True)
            ],
        )
        for indexes in alike.values()
    ]


def _common(forms: Sequence[_Form]) -> _Form:
    """Return in which form the values of a field go together, which is JSON if these differ."""
    first = forms[0]
    return first if all(each == first for each in forms) else _Form(first.name, None)


def _fields(row: object, index: int, contract: Contract) -> Mapping[str, object]:
    """Return the values of a row by their tensors, in the order of these, and then others."""
    if "input" in contract.wholes:
        return dict.fromkeys(contract.inputs, row)
    if not isinstance(row, dict):
        raise _invalid(index, (), "model_type", "Input should be an object")
    # Fields that are no tensors are the affair of whoever knows the schema.
    known = {name: row[name] for name in contract.inputs if name in row}
    given = known | row if contract.takes_others else known
    required = [name for name, column in contract.inputs.items() if column.is_required]
    if not known.keys() >= set(required) and not (given and contract.takes_json):
        raise InvalidInput([missing_field(index, name) for name in required if name not in known])
    if not given:
        raise _invalid(index, (), "missing", "There should be at least one field")
    return given


def _form(index: int, name: str, value: object, contract: Contract) -> _Form:
    column = contract.inputs.get(name)
    if column is None or column.content_type == "json":
        return _Form(name, None)
    shape = _shape(value, len(column.dimensions))
    fits = shape is not None and all(
        wanted in (ANY_LENGTH, length)
        for wanted, length in zip(column.dimensions, shape, strict=True)
    )
    if shape is not None and fits and _fits(_elements(value, len(shape)), column, contract):
        return _Form(name, shape)
    if contract.takes_json:
        return _Form(name, None)
    expected = _EXPECTED[DATATYPES[column.datatype].held.kind]
    lists = f", in lists of the shape {list(column.dimensions)}" if column.dimensions else ""
    message = f"Input should be {expected} of {column.datatype}{lists}"
    raise _invalid(index, (name,), "tensor", message)


def _shape(value: object, depth: int) -> tuple[int, ...] | None:
    """Return the lengths of nested lists; None if they are nested otherwise."""
    if depth == 0:
        return None if isinstance(value, list) else ()
    if not isinstance(value, list):
        return None
    shapes = {_shape(each, depth - 1) for each in value}
    if not shapes:
        return (0,) * depth
    inner = shapes.pop()
    return None if shapes or inner is None else (len(value), *inner)


def _elements(value: Any, depth: int) -> list[Any]:
    elements = [value]
    for _ in range(depth):
        elements = list(chain.from_iterable(elements))
    return elements


def _fits(elements: list[Any], column: Column, contract: Contract) -> bool:
    """Return whether a tensor holds the elements as they are."""
    kind, kinds = DATATYPES[column.datatype].held.kind, set(map(type, elements))
    if kind == "f":
        # A model may tell 1 from 1.0, and has null where it takes that.
        known = kinds <= ({float} if contract.takes_json else {float, int, type(None)})
        limit = float(numpy.finfo(DATATYPES[column.datatype].held).max)
        return known and all(each is None or abs(each) <= limit for each in elements)
    if kind in "iu":
        limits = numpy.iinfo(DATATYPES[column.datatype].held)
        return kinds <= {int} and all(limits.min <= each <= limits.max for each in elements)
    return kinds <= ({bool} if kind == "b" else {str})


def _tensor(
    form: _Form, fields: Sequence[Mapping[str, object]], indexes: Sequence[int], contract: Contract
) -> Tensor:
    values = [fields[index][form.name] for index in indexes]
    rows = (len(indexes),) if contract.is_batched else ()
    if form.shape is None:
        data = numpy.empty(len(values), dtype=object)
        data[:] = list(map(to_json, values))
        return Tensor(form.name, "BYTES", data.shape, data, {"content_type": "json"})
    column = contract.inputs[form.name]
    shape = (*rows, *form.shape)
    elements = list(chain.from_iterable(_elements(each, len(form.shape)) for each in values))
    try:
        array = read_json(elements, DATATYPES[column.datatype])
    except TensorError as error:
        raise _invalid(indexes[0], (form.name,), "tensor", str(error)) from None
    return Tensor(form.name, column.datatype, shape, array.reshape(shape), {})


def missing_field(index: int, name: str) -> InputProblem:
    """Describe a field that a row should have."""
    return InputProblem(("inputs", index, name), "missing", "Field required")


def _invalid(index: int, path: tuple[str, ...], type_: str, message: str) -> InvalidInput:
    return InvalidInput([InputProblem(("inputs", index, *path), type_, message)])


def rows_of(outputs: Sequence[Tensor], rows: int, contract: Contract) -> list[object]:
    """Return the JSON of rows that tensors hold.

    Raises:
        TensorError: they are other ones than the metadata say.
    """
    by_name = {tensor.name: tensor for tensor in outputs}
    found = {}
    for name, column in contract.outputs.items():
        tensor = by_name.get(name)
        if tensor is None or tensor.datatype != column.datatype:
            raise TensorError(f'there is no output "{name}" of {column.datatype}')
        found[name] = _values(tensor, column, rows, contract)
    if "output" in contract.wholes:
        (values,) = found.values()
        return values
    return [
        {
            name: values[index]
            for name, values in found.items()
            if values[index] is not None or contract.outputs[name].is_required
        }
        for index in range(rows)
    ]


def _values(tensor: Tensor, column: Column, rows: int, contract: Contract) -> list[Any]:
    expected = ((rows,) if contract.is_batched else ()) + column.dimensions
    if len(tensor.shape) != len(expected) or any(
        wanted not in (ANY_LENGTH, length)
        for wanted, length in zip(expected, tensor.shape, strict=True)
    ):
        raise TensorError(f'the output "{tensor.name}" has the shape {list(tensor.shape)}')
    data = tensor.data
    if tensor.datatype == "BYTES":
        decoded = numpy.empty(data.size, dtype=object)
        decode = from_json if column.content_type == "json" else bytes.decode
        try:
            decoded[:] = [None if each is None else decode(each) for each in data.ravel()]
        except ValueError as error:
            raise TensorError(f'the output "{tensor.name}" cannot be read: {error}') from None
        data = decoded.reshape(data.shape)
    where = missing(data)
    if where is not None:
        if not (column.is_nullable or column.holds_null):
            raise TensorError(f'the output "{tensor.name}" has a value that is missing')
        data = data.astype(object)
        data[where] = None
    listed: list[Any] = data.tolist()
    return listed if contract.is_batched else [listed]


def write_infer_request(
    inputs: Sequence[Tensor],
    *,
    binary: bool,
    parameters: Mapping[str, object] | None = None,
    outputs: Sequence[str] | None = None,
) -> tuple[bytes, int | None]:
    """Write a request, the data of its tensors as bytes if that is wanted.

    The number of bytes of the JSON comes too where data follows it, else None.
    """
    parts: list[bytes] = []
    written = [_written(tensor, parts if binary else None) for tensor in inputs]
    request: dict[str, object] = {"inputs": written}
    if outputs is not None:
        request["outputs"] = [{"name": name} for name in outputs]
    if binary or parameters:
        request["parameters"] = {**(parameters or {}), "binary_data_output": binary}
    header = to_json(request, inf_nan_mode="null")
    return (b"".join([header, *parts]), len(header)) if parts else (header, None)


def _written(tensor: Tensor, parts: list[bytes] | None) -> dict[str, object]:
    kind: Datatype = DATATYPES[tensor.datatype]
    described: dict[str, object] = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": tensor.shape,
    }
    parameters = dict(tensor.parameters)
    if parts is not None:
        parts.append(write_binary(tensor.data, kind))
        parameters["binary_data_size"] = len(parts[-1])
    else:
        elements = tensor.data.ravel().tolist()
        is_text = tensor.datatype == "BYTES"
        described["data"] = [each.decode() for each in elements] if is_text else elements
    return {**described, "parameters": parameters} if parameters else described
