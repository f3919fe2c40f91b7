"""A deployment as GitHub Markdown, for a pull request, an issue or a job summary."""

from __future__ import annotations

from collections.abc import Iterator

from edgeprune.report import content, deployment_content, tables
from edgeprune.report.deployment import Deployment
from edgeprune.report.formatting import MISSING, minutes, moment, plain
from edgeprune.report.markdown_pieces import candidates, code, escape, know, latency, table

__all__ = ["render"]

_SHOWN_DISAGREEMENTS = 20


def render(deployment: Deployment) -> str:
    """The whole deployment as one Markdown document. A pure function of the deployment."""
    return "\n\n".join(_parts(deployment)) + "\n"


def _parts(deployment: Deployment) -> Iterator[str]:
    target = deployment_content.as_target(deployment)
    yield f"# {escape(target.name)}: {content.verdict(deployment.verdict).word}"
    if deployment.emulated:
        yield f"**{deployment_content.EMULATED}**"
    yield escape(deployment.reason)
    when = f"{moment(deployment.started)} · took {minutes(deployment.seconds)}"
    yield f"{when} · {escape(deployment.recipe)}, {code(deployment.run_id)}"
    yield escape(content.acceptance(deployment))
    yield "## Answers on the device"
    yield deployment_content.sample(deployment)
    yield escape(tables.candidates_caption(deployment.metric, target))
    yield candidates(target, deployment.metric)
    if groups := tables.latency_groups(target):
        yield "### Latency"
        yield escape(tables.latency_caption(target))
        for group in groups:
            yield f"**{group.length}** ({group.calls})"
            yield latency(group)
    yield "## Other answers than the original"
    yield from _disagreements(deployment)
    for heading, facts in (
        ("Device", deployment_content.device_facts(deployment)),
        ("Bundle", deployment_content.bundle_facts(deployment)),
    ):
        yield f"## {heading}"
        yield table(("What", "Value"), ((name, escape(value)) for name, value in facts), text_columns=2)
    yield "## What you should know"
    yield know(deployment.know)
    yield f"Do it again:\n\n    {plain(deployment.command)}"


def _disagreements(deployment: Deployment) -> Iterator[str]:
    shown = deployment_content.disagreement_cells(deployment, _SHOWN_DISAGREEMENTS)
    yield deployment_content.disagreements_caption(deployment, len(shown))
    if shown:
        yield table(
            ("Example", "Text", "Right", "Original", "Device"),
            (
                (
                    row.row,
                    "<br>".join(map(escape, row.texts)),
                    escape(row.label) or MISSING,
                    escape(row.original),
                    escape(row.device),
                )
                for row in shown
            ),
            text_columns=5,
        )
