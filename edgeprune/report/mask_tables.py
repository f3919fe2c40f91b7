"""What the masks of a stage are, in words and finished cells: shared by all renderers.

Nothing here knows a medium; escaping is the renderer's part. Wherever a density is shown it says of what.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.report.content import measured
from edgeprune.report.formatting import MISSING, count, percent, plain, size
from edgeprune.report.masks import MaskRecord, Matrix, kinds_of, layers_of
from edgeprune.report.tables import Grid

__all__ = ["density_table", "facts", "summary"]

ENCODER = "kept of the encoder's linear layers"
MASKED = "kept of the matrices that were masked"


def facts(record: MaskRecord, metric: str) -> list[tuple[str, str]]:
    """What is known of the masks: pairs of name and value, the most telling first.

    Args:
        record: Of one stage.
        metric: The judged metric; what the stage itself measured of it is named as such.
    """
    found = [("method", _method(record)), ("granularity", plain(record.granularity or ""))]
    found += [("allocation", plain(record.allocation or "")), ("task head", plain(record.head or ""))]
    found += _densities(record)
    if record.quality is not None:
        found.append(measured(record.quality, metric, "after this stage"))
    if record.trained_parameters is not None:
        found.append(("trained parameters", count(record.trained_parameters)))
    if record.new_parameters is not None:
        found.append(("new parameters for this task", count(record.new_parameters)))
    return [(name, value) for name, value in [*found, *_pack(record)] if value]


def summary(record: MaskRecord, metric: str) -> list[tuple[str, str]]:
    """The `facts`, and in one line how the density differs by layer: for forms that show no table of it."""
    ranges = " · ".join(
        f"{plain(kind)} {_hundredths(min(values))}–{_hundredths(max(values))}"
        for kind in kinds_of(record.matrices)
        if (values := [matrix.density for matrix in record.matrices if matrix.kind == kind])
    )
    return [*facts(record, metric), *([("kept by layer, lowest–highest, %", ranges)] if ranges else [])]


def _method(record: MaskRecord) -> str:
    name = plain(record.method or "")
    return f"{name}, distilled" if name and record.distilled else name


def _densities(record: MaskRecord) -> list[tuple[str, str]]:
    """Kept shares with what they are shares of; one where both denominators are the same."""
    density = record.density
    if density is None:
        return []
    kept = percent(density.kept)
    more = [] if density.target is None else [f"target {percent(density.target)}"]
    if density.kept_weights is not None and density.prunable_weights is not None:
        more.append(f"{count(density.kept_weights)} of {count(density.prunable_weights)} weights")
    value = f"{kept} ({'; '.join(more)})" if more else kept
    if density.encoder is None or density.encoder == density.kept:
        return [(MASKED if density.encoder is None else ENCODER, value)]
    return [(MASKED, value), (ENCODER, percent(density.encoder))]


def _pack(record: MaskRecord) -> list[tuple[str, str]]:
    pack = record.pack
    if pack is None:
        return []
    parts = [("masks", pack.mask_bytes), ("head", pack.head_bytes)]
    told = ", ".join(f"{name} {size(number)}" for name, number in parts if number is not None)
    found = [("mask pack", f"{size(pack.bytes)}{f' ({told})' if told else ''}")]
    if pack.bits_per_weight is not None:
        bound = "" if pack.entropy_bound is None else f" (entropy bound {pack.entropy_bound:.3f})"
        found.append(("mask bits per weight", f"{pack.bits_per_weight:.3f}{bound}"))
    return found


def density_table(record: MaskRecord) -> Grid | None:
    """Every matrix's density, per cent; the last row and column are of all. None without matrices.

    What there is not, is `MISSING`.
    """
    matrices = record.matrices
    if not matrices:
        return None
    kinds = kinds_of(matrices)
    columns = [*([kind] for kind in kinds), kinds]
    rows = [
        (str(layer), [matrix for matrix in matrices if matrix.layer == layer])
        for layer in layers_of(matrices)
    ]
    return Grid(
        "Weights kept, %, by layer and kind of matrix",
        ("layer", *map(plain, kinds), "all"),
        tuple(
            (name, tuple(_mean([item for item in found if item.kind in chosen]) for chosen in columns))
            for name, found in [*rows, ("all", list(matrices))]
        ),
    )


def _mean(matrices: Sequence[Matrix]) -> str:
    """Density of several matrices together, per cent; `MISSING` for none, or where a size is not known."""
    if len(matrices) == 1:
        return _hundredths(matrices[0].density)
    sizes = [matrix.shape[0] * matrix.shape[1] for matrix in matrices if matrix.shape is not None]
    if len(sizes) < len(matrices) or sum(sizes) == 0:
        return MISSING
    kept = sum(matrix.density * weights for matrix, weights in zip(matrices, sizes, strict=True))
    return _hundredths(kept / sum(sizes))


def _hundredths(density: float) -> str:
    return "100" if density == 1 else f"{100 * density:.1f}"
