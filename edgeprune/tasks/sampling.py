"""`task.sample`: training on some of the rows, drawn at random, and saying so."""

from __future__ import annotations

from edgeprune.errors import Problem, RecipeError
from edgeprune.recipe.schema import Sample
from edgeprune.tasks.examples import Examples
from edgeprune.tasks.splitting import draw_rows

__all__ = ["draw_sample"]


def draw_sample(training: Examples, sample: Sample, file: str) -> tuple[Examples, str]:
    """Some of the training examples, and a sentence that says how many of how many.

    A larger sample of the same rows with the same seed holds every row of a smaller one.

    Args:
        training: All n usable training examples.
        sample: How many of them, and the seed of the draw.
        file: Name of the file that they come from, for messages.

    Returns:
        The drawn examples in the order of the file, and the note for the report.

    Raises:
        RecipeError: More rows are asked for than there are, or a class is left without one.
    """
    count = len(training)
    if sample.train > count:
        raise _refused(
            "train",
            f"{sample.train:,} rows are to be drawn, but {file} gives {count:,} training rows",
            f"ask for {count:,} at most, or leave `sample` out to train on all of them",
        )
    drawn = training.select(draw_rows(count, sample.train, sample.seed))
    note = f"{sample.train:,} of {count:,} training rows are used, drawn with seed {sample.seed}"
    before = training.per_class()
    lost = [name for name, number in drawn.per_class().items() if before[name] and not number]
    if lost:
        named = ", ".join(f"{name!r} ({before[name]:,} in all)" for name in lost)
        message = f"{note}, and none of them is of class {named}"
        raise _refused("train", message, "draw more rows, or with another `sample.seed`")
    return drawn, f"{note} (`task.sample`)"


def _refused(key: str, message: str, hint: str) -> RecipeError:
    return RecipeError([Problem(("task", "sample", key), message, hint)])
