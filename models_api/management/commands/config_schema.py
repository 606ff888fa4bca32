"""`manage.py config_schema`: the JSON Schema of the configuration file, for editors."""

from __future__ import annotations

import json

from django.core.management.base import BaseCommand
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from models_api.configuration.sections import ServiceConfiguration

# A string such as "${NAME}" may become anything once the environment fills it in.
_REFERENCE: JsonSchemaValue = {"type": "string", "pattern": r"\$\{"}


class _ConfigurationSchema(GenerateJsonSchema):
    """Describes what a file may hold before references to the environment are filled in."""

    def field_title_should_be_set(self, schema: object) -> bool:
        """Leave out titles that only repeat the keys."""
        return False

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        return _or_reference(super().bool_schema(schema))

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return _or_reference(super().int_schema(schema))

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return _or_reference(super().float_schema(schema))

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        json_schema = super().str_schema(schema)
        return _or_reference(json_schema) if "pattern" in json_schema else json_schema

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        return {
            "$schema": self.schema_dialect,
            **super().generate(schema, mode),
            "title": "Configuration of modelhost",
        }


def _or_reference(json_schema: JsonSchemaValue) -> JsonSchemaValue:
    return {"anyOf": [json_schema, _REFERENCE]}


class Command(BaseCommand):
    """Prints the JSON Schema of the configuration file."""

    help = (
        "Print the JSON Schema of the configuration file, by which editors complete and check it. "
        "Write it to a file, and begin the configuration with the line "
        "`# yaml-language-server: $schema=config_schema.json`."
    )
    # It is there for those who have no valid configuration yet.
    requires_system_checks = ()

    def handle(self, *args: object, **options: object) -> None:
        """Print the schema."""
        schema = ServiceConfiguration.model_json_schema(schema_generator=_ConfigurationSchema)
        self.stdout.write(json.dumps(schema, indent=2))
