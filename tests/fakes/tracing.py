"""A model that makes spans of its own."""

from __future__ import annotations

import os
from typing import Any

from opentelemetry import trace

from tests.fakes.dying import DyingModel, Report


class TracingModel(DyingModel):
    """Makes a span in each prediction."""

    display_name = "Tracing"
    qualified_name = "tracing"

    def predict(self, data: Any) -> Any:
        """Make it, and obey in it."""
        with trace.get_tracer("tests").start_as_current_span(f"own {data.what}"):
            return super().predict(data) if data.what == "abort" else Report(process=os.getpid())
