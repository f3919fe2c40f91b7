"""What a finished run left in its folder, for benchmarks that go on from there."""

from __future__ import annotations

from pathlib import Path

from edgeprune.errors import UsageError

__all__ = ["artifact_of", "is_run"]


def is_run(folder: Path) -> bool:
    """Whether `edgeprune run` made this folder."""
    return (folder / "plan.json").is_file() and (folder / "recipe.yaml").is_file()


def artifact_of(run: Path, step: str) -> Path:
    """The folder that a step of a run gave.

    Args:
        run: The run's folder.
        step: Id of the step, e.g. ``finetune`` or ``compile x86/openvino/fp32``.

    Raises:
        UsageError: The run has no such step, did not get to it, or its artifact is no longer in the cache.
    """
    if not is_run(run):
        raise UsageError("this is no folder of a run", where=str(run), hint="it has a plan.json")
    link = run / "artifacts" / step.replace("/", "-").replace(" ", "-")
    if link.is_dir():
        return link.resolve()
    if link.is_symlink():
        raise UsageError(
            f"what its step {step!r} gave is no longer in the cache",
            where=str(run),
            hint="run its recipe again",
        )
    made = sorted(path.name for path in (run / "artifacts").iterdir()) if (run / "artifacts").is_dir() else []
    raise UsageError(f"this run has nothing of a step {step!r}", where=str(run), hint=f"it has: {made}")
