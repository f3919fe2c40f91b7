"""How a stage's record is read for the renderers.

A record is foreign data: it may be older than this code or come from a stage of somebody else's. Each part
that is missing or does not fit is None, and then has no figure, plot or column; the raw record stays in
`report.json`. Numbers are bounded, so that whatever fits can be drawn and printed.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

__all__ = ["Count", "Curve", "Lenient", "LenientTuple", "Number", "Part", "Share"]

_ROUNDING = 1e-6


def _none_if_broken(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        return None


def _empty_if_broken(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return _none_if_broken(value, check) or ()


Lenient = WrapValidator(_none_if_broken)
"""Makes a part None where it does not fit."""

LenientTuple = WrapValidator(_empty_if_broken)
"""Makes a tuple empty where it does not fit."""

Share = Annotated[float, Field(ge=0, le=1 + _ROUNDING), AfterValidator(lambda value: min(value, 1.0))]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(ge=-1e30, le=1e30)]
Curve = tuple[tuple[Count, Number], ...]
"""(step, value) pairs."""


class Part(BaseModel):
    """Base of all parts: immutable; what this code does not know is left out; only finite numbers."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)
