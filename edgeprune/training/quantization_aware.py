"""Training under a teacher a student that rounds as its INT8 graph will."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeprune.training.distilling import Distilling

if TYPE_CHECKING:
    from edgeprune.training.fake_quantization import FakeQuantization

__all__ = ["QuantizationAware"]


class QuantizationAware(Distilling):
    """Adapts `fit` to a student that is rounded in every forward pass, until `detach`.

    With two dialects, steps take turns: the weights learn to do with both, and each dialect's own steps are
    moved in every other one.

    Args:
        student: The classifier that is trained.
        fake: Its rounding; not attached.
        step_rate: Peak learning rate of the activations' steps, which are relative (see `fake_quantization`).
        rest: As of `Distilling`.
    """

    def __init__(
        self, student: Any, *rest: Any, fake: FakeQuantization, step_rate: float, **named: Any
    ) -> None:
        super().__init__(student, *rest, **named)  # holds parameters, so it must see them by their own names
        self._fake, self._step_rate = fake, step_rate
        fake.attach(student)

    def detach(self) -> None:
        """Leave the student as it is saved: its weights are not rounded."""
        self._fake.remove()
        super().detach()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Those of `Distilling`, and the steps."""
        groups = super().parameter_groups()
        if steps := list(self._fake.parameters()):
            groups.append({"name": "steps", "params": steps, "lr": self._step_rate, "weight_decay": 0.0})
        return groups

    def begin_step(self, step: int, total: int) -> None:
        """The next dialect's turn."""
        super().begin_step(step, total)
        dialects = self._fake.dialects
        self._fake.use(dialects[step % len(dialects)])
