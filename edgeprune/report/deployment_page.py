"""A deployment as one self-contained HTML page, in the style of the report."""

from __future__ import annotations

from edgeprune.report import content, deployment_content
from edgeprune.report.deployment import Deployment
from edgeprune.report.pages import fill

__all__ = ["render"]

_SHOWN_DISAGREEMENTS = 100


def render(deployment: Deployment) -> str:
    """The whole page. A pure function of the deployment: the same one gives the same bytes."""
    return fill(
        "deployment.html.j2",
        report=deployment,
        words=deployment_content,
        target=deployment_content.as_target(deployment),
        disagreements=deployment_content.disagreement_cells(deployment, _SHOWN_DISAGREEMENTS),
        notes=content.notes_by_weight(deployment.know),
    )
