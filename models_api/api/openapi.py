"""The OpenAPI document: the operation of each view, in drf-spectacular's terms."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, Self, cast
from weakref import WeakKeyDictionary

from django.apps import apps
from drf_spectacular.drainage import reset_generator_stats, warn
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import (
    ComponentIdentity,
    ComponentRegistry,
    ResolvedComponent,
    normalize_result_object,
)
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from pydantic import BaseModel
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from models_api.api.answers import VERSION_HEADER
from models_api.api.bodies import RESPONSES, Error, OpenInferenceError, OpenInferenceRequest
from models_api.conf import maximum_batch_rows
from models_api.configuration.sections import ServiceConfiguration
from models_api.error_table import ERROR_KINDS, ErrorKind, kind_of
from models_api.exceptions import ModelNotReady, Refusal
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.registry import ModelRegistry, OwnsRegistry
from models_api.prediction.description import ModelNames
from models_api.prediction.rows import batch_schemas
from models_api.schemas.json_schema import SERVICE, JSONSchema, SchemaUse, components, referenced

OPENAPI_VERSION = "3.1.0"
OPEN_INFERENCE_TAG = "open_inference"

_BINARY = "application/octet-stream"
_BINARY_SCHEMA = {"type": "string", "format": "binary"}
_HEADER_LENGTH = [
    OpenApiParameter(
        "Inference-Header-Content-Length",
        {"type": "integer", "minimum": 0},
        OpenApiParameter.HEADER,
        description="Bytes of the JSON, where the data of tensors follows it.",
        response=response,
    )
    for response in (False, [200])
]
_VERSION = [
    OpenApiParameter(
        VERSION_HEADER,
        OpenApiTypes.STR,
        OpenApiParameter.HEADER,
        description="Version of the model that made the answer, percent-encoded; errors that a "
        "version made have it, too.",
        response=[200],
    )
]

Responses = dict[int | tuple[int, str], OpenApiResponse]
"""By their status, or by status and media type."""

HiddenRoutes = tuple[str, str | None]
"""A model's qualified name and the version in its routes; None for those without one."""

Description = tuple[dict[SchemaUse, JSONSchema], dict[str, JSONSchema]]
"""A reference for each use of a schema, and the components referred to."""

# One description for each document that is being made, whatever generator makes it.
_described: WeakKeyDictionary[ComponentRegistry, Description] = WeakKeyDictionary()

_ERROR_HEADERS = {
    "Accept-Encoding": (OpenApiTypes.STR, "How a body may be compressed, if it is otherwise."),
    "Retry-After": (OpenApiTypes.INT, "Seconds to wait before the next try."),
    "X-Request-ID": (OpenApiTypes.STR, "The id under which the log has the reason."),
}
"""Type and description of each header that comes with an error."""


def own_body(schema: type[BaseModel]) -> SchemaUse:
    """Return the use of one of the service's own bodies."""
    return SchemaUse(SERVICE, schema, "serialization")


OPEN_INFERENCE_REQUEST = SchemaUse(SERVICE, OpenInferenceRequest, "validation")


@dataclass(frozen=True, slots=True)
class Operation:
    """The one operation of a view, as the document describes it."""

    id: str
    """operationId; depends on nothing but the operation itself."""
    tag: str
    summary: str
    description: str
    response: SchemaUse
    request: SchemaUse | None = None
    errors: tuple[int, ...] = ()
    """Statuses answered with an `Error` body, besides those of the host project's policies."""
    refusals: tuple[type[Refusal], ...] = ()
    """What the model may answer by itself."""
    other_responses: Mapping[int, str] = field(default_factory=dict)
    """Further statuses that are answered with the body of `response`."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Descriptions of the path's parameters."""
    error: type[BaseModel] = Error
    """The body of errors."""
    is_binary: bool = False
    """Whether request and response may have the data of tensors behind their JSON."""
    tells_version: bool = False
    """Whether answers have a header with the version of the model that made them."""


class DescribedView(Protocol):
    """What the document takes from a view."""

    registry: ModelRegistry
    authentication_classes: Sequence[type[BaseAuthentication]]
    permission_classes: Sequence[object]
    throttle_classes: Sequence[type[BaseThrottle]]

    def operation(self) -> Operation:
        """Return the view's one operation.

        Raises:
            ModelNotReady: the schemas of its model are not known, because it failed to load.
        """


# drf-spectacular's annotations name serializers alone, where it takes schemas, too.
class ModelsAPISchema(AutoSchema):
    """Describes a view by its `operation()`; every schema is made by pydantic."""

    def __get__(self, instance: APIView | None, owner: type[APIView]) -> Self:
        """Return a description for each view, where DRF would share one among threads."""
        if instance is None or instance in self.instance_schemas:
            return cast(Self, super().__get__(instance, owner))
        schema = type(self)()
        schema.view = instance
        return schema

    @property
    def _operation(self) -> Operation:
        return self._described_view.operation()

    @property
    def _described_view(self) -> DescribedView:
        return cast(DescribedView, self.view)

    def is_excluded(self) -> bool:
        """Leave out a model whose schemas nobody can know, because it failed to load."""
        try:
            _ = self._operation
        except ModelNotReady as error:
            warn(f"left out of the document: {error}")
            return True
        return False

    def _is_list_view(self, serializer: object = None) -> bool:
        # None is paginated or filtered; drf-spectacular would describe all responses to know.
        return False

    def get_operation_id(self) -> str:
        """Return the operation's own, where drf-spectacular's depends on other operations."""
        return self._operation.id

    def get_tags(self) -> list[str]:
        """Return the operation's group."""
        return [self._operation.tag]

    def get_summary(self) -> str:
        """Return the operation's title."""
        return self._operation.summary

    def get_description(self) -> str:  # type: ignore[override]
        """Return the operation's description."""
        return self._operation.description

    def get_auth(self) -> list[JSONSchema]:
        """Leave out an empty requirement, which is noise on the pages."""
        requirements: list[JSONSchema] = super().get_auth()
        return [] if requirements == [{}] else requirements

    def get_override_parameters(self) -> list[OpenApiParameter]:  # type: ignore[override]
        """Add the headers of error responses, and descriptions of the path's parameters."""
        parameters = [
            OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.PATH, description=text)
            for name, text in self._operation.parameters.items()
        ]
        headers = [
            _error_header(kind.status, kind.header)
            for kind in self._errors()
            if kind.header is not None
        ]
        parameters += headers + (_HEADER_LENGTH if self._operation.is_binary else [])
        return parameters + (_VERSION if self._operation.tells_version else [])

    def get_request_serializer(self) -> dict[str, JSONSchema] | None:  # type: ignore[override]
        """Refer to the component of the request's body."""
        use = self._operation.request
        if use is None:
            return None
        binary = {_BINARY: _BINARY_SCHEMA} if self._operation.is_binary else {}
        return {"application/json": self._reference(use), **binary}

    def _get_request_body(self, direction: str = "request") -> JSONSchema | None:
        body: JSONSchema | None = super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        # drf-spectacular makes the body optional where it did not make the schema.
        return body and {**body, "required": True}

    def get_response_serializers(self) -> Responses:  # type: ignore[override]
        """Refer to the component of each response's body."""
        operation = self._operation
        success = self._reference(operation.response)
        error = self._reference(own_body(operation.error))
        responses: Responses = {200: OpenApiResponse(success, description="Success.")}
        if operation.is_binary:
            responses[200, _BINARY] = OpenApiResponse(_BINARY_SCHEMA, description="Success.")
        for status, description in operation.other_responses.items():
            responses[status] = OpenApiResponse(success, description=description)
        errors = self._errors()
        for status in sorted({kind.status for kind in errors}):
            kinds = [kind for kind in errors if kind.status == status]
            responses[status] = OpenApiResponse(
                error,
                description=" ".join(kind.text for kind in kinds if kind.text),
                examples=_error_examples(kinds, operation.error),
            )
        return responses

    def _errors(self) -> list[ErrorKind]:
        """Return the errors that are answered, those of the project's policies too."""
        view, operation = self._described_view, self._operation
        statuses = set(operation.errors)
        if view.authentication_classes or any(
            permission is not AllowAny for permission in view.permission_classes
        ):
            statuses |= {401, 403}
        if view.throttle_classes:
            statuses.add(429)
        refusals = set(map(kind_of, operation.refusals))
        return [
            kind
            for kind in ERROR_KINDS
            if (kind in refusals if kind.is_refusal else kind.status in statuses)
        ]

    def _reference(self, use: SchemaUse) -> JSONSchema:
        if self.registry not in _described:
            # A copy, because hooks of the project change the schemas of its document.
            _described[self.registry] = deepcopy(_describe(self._described_view.registry))
        references, schemas = _described[self.registry]
        for name in sorted(referenced(references[use], schemas)):
            component = ResolvedComponent(
                name=name,
                type=ResolvedComponent.SCHEMA,
                schema=schemas[name],
                object=ComponentIdentity(name),
            )
            self.registry.register_on_missing(component)
        return references[use]


def _error_header(status: int, name: str) -> OpenApiParameter:
    type_, text = _ERROR_HEADERS[name]
    return OpenApiParameter(
        name, type_, OpenApiParameter.HEADER, description=text, response=[status]
    )


def _error_examples(kinds: Sequence[ErrorKind], error: type[BaseModel]) -> list[OpenApiExample]:
    return [
        OpenApiExample(kind.type, _error_body(kind.type, kind.example, error))
        for kind in kinds
        if kind.example
    ]


def _error_body(type_: str, message: str, error: type[BaseModel]) -> dict[str, object]:
    if error is OpenInferenceError:
        return {"error": message}
    return Error(type=type_, messages=[message]).model_dump(exclude_none=True)


class ModelsAPISchemaGenerator(SchemaGenerator):
    """Makes documents with the title, description and version of the YAML file."""

    def __init__(
        self, *args: Any, hidden: Container[HiddenRoutes] | None = None, **kwargs: Any
    ) -> None:
        """Make it.

        Args:
            args: As drf-spectacular takes them.
            hidden: Whose routes are to be left out of documents that are not public: qualified
                names with a version, and with None for routes without one. None to ask the
                permissions of each view.
            kwargs: As drf-spectacular takes them.
        """
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._hidden = hidden

    def has_view_permissions(self, path: str, method: str, view: APIView) -> bool:
        """Return whether a view is in a document that is not public."""
        if self._hidden is None:
            allowed: bool = super().has_view_permissions(path, method, view)
            return allowed
        names = getattr(view, "qualified_name", None), getattr(view, "version", None)
        return names not in self._hidden

    def get_schema(self, request: Request | None = None, public: bool = False) -> JSONSchema:
        """Return the document of all endpoints, or of the patterns that the generator was given."""
        reset_generator_stats()
        # Without hooks: drf-spectacular's own names an enum after all the other enums.
        paths = normalize_result_object(self.parse(request, public))  # type: ignore[no-untyped-call]
        components = self.registry.build({})
        app = cast(OwnsRegistry, apps.get_app_config("models_api"))
        configuration = app.configuration
        info = {"title": configuration.service_title, "version": configuration.version}
        if configuration.description:
            info["description"] = configuration.description
        return {
            "openapi": OPENAPI_VERSION,
            "info": info,
            "paths": paths,
            "components": components,
            "tags": [
                tag
                for tag in tags(app.registry, configuration)
                if public or tag["name"] in _used_tags(paths)
            ],
        }


def _used_tags(paths: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> set[str]:
    operations = (operation for path in paths.values() for operation in path.values())
    return {tag for operation in operations for tag in operation["tags"]}


def tags(registry: ModelRegistry, configuration: ServiceConfiguration) -> list[dict[str, str]]:
    """Return the groups of operations: one for each model, and the service's own."""
    open_inference = configuration.open_inference
    name = OPEN_INFERENCE_TAG if open_inference and open_inference.enabled else None
    models: dict[str, ModelNames] = {}
    for model in registry:
        if model.configuration.create_endpoint:  # of several versions that which is asked
            name_ = model.details.qualified_name
            models.setdefault(name_, registry.release(name_).model.details)
    described = [
        *(_tag(name_, model.display_name, model.description) for name_, model in models.items()),
        _tag("models", "Models", "The models that this service hosts."),
        _tag("status", "Status", "Whether the service works and may get traffic."),
        *([_tag(name, "Open Inference", "What clients of the protocol ask for.")] if name else []),
    ]
    # Once each, though a model may have the name of one of the service's own.
    return list({tag["name"]: tag for tag in described}.values())


def _tag(name: str, display_name: str, description: str) -> dict[str, str]:
    # ReDoc shows x-displayName in place of the name.
    tag = {"name": name, "x-displayName": display_name}
    return {**tag, "description": description} if description else tag


def _describe(registry: ModelRegistry) -> Description:
    uses = [own_body(schema) for schema in RESPONSES] + [OPEN_INFERENCE_REQUEST]
    for model in registry:
        if not model.configuration.create_endpoint:
            continue
        try:
            uses += [*prediction_uses(model), *batch_uses(model)]
        except ModelNotReady:
            continue
    return _components(tuple(uses))


def prediction_uses(model: HostedModel) -> tuple[SchemaUse, SchemaUse]:
    """Return the uses of a hosted model's schemas: what a prediction takes, and what it gives.

    Raises:
        ModelNotReady: the schemas are not known, because the model failed to load.
    """
    return _uses(model, model.schemas)


def batch_uses(model: HostedModel) -> tuple[SchemaUse, SchemaUse]:
    """Return the uses of the schemas of a batch: what it takes, and what it gives.

    Raises:
        ModelNotReady: the schemas are not known, because the model failed to load.
    """
    return _uses(model, batch_schemas(*model.schemas, maximum_batch_rows()))


def _uses(
    model: HostedModel, schemas: tuple[type[BaseModel], type[BaseModel]]
) -> tuple[SchemaUse, SchemaUse]:
    taken, given = schemas
    owner = model.path_name if model.is_one_of_several else model.qualified_name
    return SchemaUse(owner, taken, "validation"), SchemaUse(owner, given, "serialization")


# A service has one set of schemas; a second one appears if a loaded model changes its own.
@lru_cache(maxsize=2)
def _components(uses: tuple[SchemaUse, ...]) -> Description:
    return components(uses)
