"""A decorator with an option, which the configuration file can set."""

import logging
from time import perf_counter

from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel

logger = logging.getLogger(__name__)


class LoggingDecorator(MLModelDecorator):
    """Logs each prediction's duration, and nothing of what was sent or predicted."""

    def __init__(self, model: MLModel | None = None, level: str = "INFO") -> None:
        """Wrap the model.

        Args:
            model: The model to wrap; a service sets it later, with ``set_model``.
            level: Name of the level to log at, such as ``DEBUG``.

        Raises:
            ValueError: There is no level of that name.
        """
        levels = logging.getLevelNamesMapping()
        if level not in levels:
            raise ValueError(f"level: {level!r} is none of {', '.join(levels)}")
        # ml_base forwards a plain `self.level = ...` to the wrapped model. What is passed on here
        # stays with the decorator, as `self._configuration`.
        super().__init__(model, level=levels[level])

    def predict(self, data: BaseModel) -> BaseModel:
        """Predict with the wrapped model and log how long it took, in milliseconds."""
        start = perf_counter()
        prediction: BaseModel = self._model.predict(data)
        milliseconds = 1000 * (perf_counter() - start)
        level = self._configuration["level"]
        logger.log(level, "%s: predicted in %.2f ms", self.qualified_name, milliseconds)
        return prediction
