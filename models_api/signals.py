"""Signals, in Django's way: `prediction_made`."""

from __future__ import annotations

from collections.abc import Sequence

from django.dispatch import Signal

from models_api.prediction.listener import PredictionListener
from models_api.prediction.request_context import current_request

__all__ = ["prediction_made"]

prediction_made = Signal()
"""Sent for each row for which a model has predicted, once its whole request has succeeded.

The sender is the class of the model, without decorators. Receivers get `model` (the qualified
name), `version`, `request_id`, `user` (None where no authentication found one), `input` and
`output` (what their JSON is parsed to), `seconds` (of the request), `row` and `rows` (the index of
this row, and how many the request has).
"""

service_changed = Signal()
"""Sent when another service has taken the place of that of this process, as tests do."""


class SignalSender(PredictionListener):
    """Sends `prediction_made` for the predictions of one model."""

    audience = prediction_made

    def hear(self, inputs: Sequence[object], outputs: Sequence[object], seconds: float) -> None:
        """Send the signal for each row; Django logs what a receiver raises."""
        context = current_request.get()
        for row, (given, predicted) in enumerate(zip(inputs, outputs, strict=True)):
            prediction_made.send_robust(
                sender=self.model_class,
                model=self.names.qualified_name,
                version=self.names.version,
                request_id=context.id if context is not None else "",
                user=context.caller.principal if context is not None else None,
                input=given,
                output=predicted,
                seconds=seconds,
                row=row,
                rows=len(inputs),
            )
