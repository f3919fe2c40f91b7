"""A deployment on a console: a rich renderable, and the same as plain text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from edgeprune.report import content, deployment_content, tables
from edgeprune.report.console_pieces import STYLES, View, print_view, view_text
from edgeprune.report.deployment import Deployment
from edgeprune.report.formatting import MISSING, moment, plain

__all__ = ["DeploymentView", "show", "to_text"]

_SHOWN_DISAGREEMENTS = 5


class DeploymentView(View):
    """A deployment as something that a rich `Console` can print."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__()
        self._deployment = deployment

    def pieces(self) -> Iterator[RenderableType]:
        """The whole deployment, its verdict first."""
        found = self._deployment
        target = deployment_content.as_target(found)
        yield self.text(
            f"{plain(found.recipe)} · run {plain(found.run_id)} · {moment(found.started)}", "bold"
        )
        if found.emulated:
            yield self.text(deployment_content.EMULATED, STYLES["open"])
        yield self.text(content.acceptance(found), "dim")
        yield Text()
        yield self.verdict(target, found.metric)
        yield self.heading("Answers on the device")
        yield self.text(deployment_content.sample(found))
        yield self.text(tables.candidates_caption(found.metric, target), "italic")
        yield Text()
        yield self.candidates(target, found.metric)
        yield Text()
        yield self.reasons(target, found.metric)
        yield from self._latencies()
        yield from self._disagreements()
        yield self.heading("Device")
        yield self.facts(deployment_content.device_facts(found))
        yield self.heading("Bundle")
        yield self.facts(deployment_content.bundle_facts(found))
        yield from self.know(found.know)

    def _latencies(self) -> Iterator[RenderableType]:
        target = deployment_content.as_target(self._deployment)
        groups = tables.latency_groups(target)
        if groups:
            yield Text()
            yield self.text(tables.latency_caption(target), "italic")
        for group in groups:
            yield Text()
            yield self.text(f"{group.length} ({group.calls})", "bold")
            yield self.latency(group)

    def _disagreements(self) -> Iterator[RenderableType]:
        shown = deployment_content.disagreement_cells(self._deployment, _SHOWN_DISAGREEMENTS)
        yield self.heading("Other answers than the original")
        yield self.text(deployment_content.disagreements_caption(self._deployment, len(shown)))
        if not shown:
            return
        yield Text()
        table = self.table([("text", False), ("right", False), ("original", False), ("device", False)])
        for row in shown:
            cells = (" / ".join(row.texts), row.label or MISSING, row.original, row.device)
            table.add_row(*(self.text(cell) for cell in cells))
        yield table


def show(deployment: Deployment) -> None:
    """Print a deployment to standard output; plain text, 100 columns wide, where that is no terminal."""
    print_view(DeploymentView(deployment))


def to_text(deployment: Deployment, width: int = 100) -> str:
    """The deployment as plain text, no colour codes, no line wider than `width` columns."""
    return view_text(DeploymentView(deployment), width)
