"""A neural network of PyTorch, on a GPU where there is one: many images in one call."""

from typing import Any

from ml_base import MLModel
from sklearn.datasets import load_digits

from examples.digits import SIDE, DigitsModelInput, DigitsModelOutput

BRIGHTEST = 16.0


class TorchDigitsModel(MLModel):
    """Network of one hidden layer on 1797 images of the UCI handwritten digits data set."""

    display_name = "Digits by PyTorch"
    qualified_name = "torch_digits"
    description = "Recognises a handwritten digit on an image of 8 by 8 pixels, by a network."
    version = "1.0.0"
    input_schema = DigitsModelInput
    output_schema = DigitsModelOutput

    def __init__(self, device: str | None = None, epochs: int = 100) -> None:
        """Fit the network, within a second or two.

        Args:
            device: Where it computes, as PyTorch names it; None for the GPU if there is one.
            epochs: How often it sees all images.
        """
        # Here, and not at the top: nothing but the process that predicts needs PyTorch in its
        # memory, and a process that was forked from one that uses a GPU cannot use it.
        import torch  # noqa: PLC0415

        self._torch = torch
        # Several would rather wait for each other in a network as small as this.
        torch.set_num_threads(1)
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(0)
        self._network = torch.nn.Sequential(
            torch.nn.Linear(SIDE * SIDE, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
        ).to(self._device)
        pixels, digits = load_digits(return_X_y=True)
        inputs = torch.tensor(pixels / BRIGHTEST, dtype=torch.float32, device=self._device)
        wanted = torch.tensor(digits, device=self._device)
        optimiser = torch.optim.Adam(self._network.parameters(), lr=0.01)
        for _ in range(epochs):
            optimiser.zero_grad()
            loss: Any = torch.nn.functional.cross_entropy(self._network(inputs), wanted)
            loss.backward()
            optimiser.step()

    def predict(self, data: DigitsModelInput) -> DigitsModelOutput:
        """Recognise the digit on one image."""
        return self.predict_batch([data])[0]

    def predict_batch(self, data: list[DigitsModelInput]) -> list[DigitsModelOutput]:
        """Recognise the digits on many images in one call, in their order."""
        torch = self._torch
        # One copy to the GPU and one back, however many images there are.
        pixels = torch.tensor([each.image for each in data], device=self._device)
        with torch.inference_mode():
            logits = self._network(pixels.reshape(len(data), SIDE * SIDE) / BRIGHTEST)
            found = torch.softmax(logits, dim=1).max(dim=1)
        pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        return [DigitsModelOutput(digit=digit, probability=value) for digit, value in pairs]
