"""The rows of one inference request, of which several versions of a model predict some each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
from pydantic_core import from_json

from models_api.api.split_rows import Part, parts_of
from models_api.exceptions import PayloadTooLarge, TensorError
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.traffic import Traffic
from models_api.hosting.traffic_keys import TrafficKey, plain_limit
from models_api.open_inference.columns import columns
from models_api.open_inference.inference import Payload
from models_api.open_inference.remote_rows import write_infer_request
from models_api.open_inference.tensors import (
    InferRequest,
    RequestLimits,
    Tensor,
    read_infer_request,
    read_infer_response,
    write_infer_response,
)

_SIZE = "binary_data_size"


class SplitTensors:
    """The tensors of a request, whose first dimension counts rows."""

    def __init__(self, request: InferRequest, parts: Sequence[Part]) -> None:
        self.parts = parts
        self._request = request

    def payload_of(self, part: Part) -> Payload:
        """Return the body of a request for a part alone, whose answer is to be binary."""
        request, indexes = self._request, list(part.indexes)
        inputs = [_taken(tensor, tensor.data[indexes]) for tensor in request.inputs]
        names = None if request.outputs is None else [each.name for each in request.outputs]
        parameters = request.parameters
        return Payload(
            *write_infer_request(inputs, binary=True, parameters=parameters, outputs=names)
        )

    def together(self, answers: Sequence[Payload], version: str) -> Payload:
        """Return the answer, from those for the parts.

        Raises:
            ValueError: they do not go together: lists of one are longer than those of another.
        """
        responses = [read_infer_response(*answer).outputs for answer in answers]
        places = numpy.argsort(numpy.concatenate([part.indexes for part in self.parts]))
        outputs = []
        for tensors in zip(*responses, strict=True):
            data = numpy.concatenate([tensor.data for tensor in tensors])[places]
            outputs.append(_taken(tensors[0], data))
        name, request = self.parts[0].model.details.qualified_name, self._request
        return Payload(*write_infer_response(name, version, request.id, outputs, request))


def split_tensors(traffic: Traffic, payload: Payload) -> SplitTensors | None:
    """Split the rows of a request; None where it goes to one version as a whole.

    By the field that is the key, or by chance. Versions that give other tensors get no rows of one
    request, and one version has to say what is wrong with it.
    """
    model = traffic.shares[0].model
    limits = RequestLimits(plain_limit(model.maximum_values), model.backend.batch_limit)
    try:
        request = read_infer_request(*payload, limits)
    except (TensorError, PayloadTooLarge):
        return None
    rows = (request.inputs[0].shape or (0,))[0]
    have_rows = all(tensor.shape[:1] == (rows,) for tensor in request.inputs)
    if not 0 < rows <= model.maximum_rows or not have_rows or not _give_the_same(traffic):
        return None
    keys = _keys(traffic, request, model, rows)
    return SplitTensors(request, parts_of(map(traffic.choose, keys)))


def _give_the_same(traffic: Traffic) -> bool:
    given = [
        [*columns(share.model.schemas.output, "serialization")]
        for share in traffic.shares
        if share.percent and share.model.is_described
    ]
    return all(each == given[0] for each in given)


def _keys(
    traffic: Traffic, request: InferRequest, model: HostedModel, rows: int
) -> list[bytes | None]:
    name = traffic.key.column
    tensor = next((each for each in request.inputs if each.name == name), None)
    if tensor is None or tensor.data.size != rows:
        return [None] * rows
    column = columns(model.schemas.input, "validation").by_name.get(tensor.name)
    is_json = column is not None and column.content_type == "json"
    elements: list[Any] = tensor.data.ravel().tolist()
    return [_key(element, traffic.key, is_json=is_json) for element in elements]


def _key(element: Any, key: TrafficKey, *, is_json: bool) -> bytes | None:
    if isinstance(element, bytes):
        try:
            element = from_json(element) if is_json else element.decode()
        except ValueError:
            return None
    return key.of_column(element)


def _taken(tensor: Tensor, data: Any) -> Tensor:
    parameters = {key: value for key, value in tensor.parameters.items() if key != _SIZE}
    return Tensor(tensor.name, tensor.datatype, data.shape, data, parameters)
