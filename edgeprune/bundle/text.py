"""The files of a bundle that are text: README.md, requirements.txt, sample.jsonl.

Labels and column names are users' own. In the README they stand as JSON inside an indented block, where they
are neither Markdown nor HTML, and no command has them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from edgeprune.bundle.content import Content, Sample

__all__ = ["parse_samples", "readme", "requirements", "sample_lines"]


def readme(content: Content) -> str:
    """README.md: what this is, and three commands."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgeprune.bundle", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown, and what users wrote is JSON in it
    )
    text = environment.get_template("README.md.j2").render(content=content, facts=_facts(content))
    return text.rstrip() + "\n"


def _facts(content: Content) -> str:
    """An indented block, one fact a line."""
    rows = {
        "model": content.variant,
        "target": f"{content.target}, {content.architecture}",
        "needs": ", ".join((f"Python >= {content.python}", *content.requirements)),
        "processor": ", ".join(content.cpu_features).replace("|", " or ") or "any of that architecture",
        "takes": ", ".join(map(json.dumps, content.columns)),
        "labels": ", ".join(map(json.dumps, content.labels)),
    }
    origin = content.provenance
    rows |= {name: json.dumps(origin[name]) for name in ("recipe", "run") if name in origin}
    width = max(map(len, rows))
    return "\n".join(f"    {name:<{width}}  {text}" for name, text in rows.items())


def requirements(content: Content) -> str:
    """requirements.txt, as pip reads it."""
    return "".join(f"{line}\n" for line in content.requirements)


def sample_lines(samples: Iterable[Sample]) -> str:
    """sample.jsonl: an object a line, ``texts`` and ``scores``; ASCII."""
    return "".join(
        json.dumps({"texts": list(sample.texts), "scores": dict(sample.scores)}) + "\n" for sample in samples
    )


def parse_samples(text: str) -> tuple[Sample, ...]:
    """What `sample_lines` wrote.

    Raises:
        ValueError: It is something else.
    """
    samples = []
    for line in text.splitlines():
        row = json.loads(line)
        if not isinstance(row, dict) or row.keys() != {"texts", "scores"}:
            raise ValueError(f"a sample is an object with texts and scores, not {line[:80]!r}")
        texts, scores = row["texts"], row["scores"]
        if not isinstance(texts, list) or not isinstance(scores, dict):
            raise ValueError(f"a sample is an object with texts and scores, not {line[:80]!r}")
        samples.append(Sample(tuple(map(str, texts)), {name: float(value) for name, value in scores.items()}))
    return tuple(samples)
