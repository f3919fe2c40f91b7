"""Deployments on disk: `deployment.json` is the deployment; its page and its Markdown are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.durable import write_text
from edgeprune.report.deployment import DEPLOYMENT_SCHEMA, Deployment
from edgeprune.report.documents import read_document, schema_of, to_json

__all__ = ["DEPLOYMENTS", "DeploymentFiles", "deployments_of", "files_of", "read", "schema", "write"]

DEPLOYMENTS = "deployments"
"""The folder of a run that holds one folder per deployment."""

_JSON, _MARKDOWN, _HTML = "deployment.json", "deployment.md", "deployment.html"


@dataclass(frozen=True)
class DeploymentFiles:
    """Where a deployment was written."""

    json: Path
    markdown: Path
    html: Path


def write(deployment: Deployment, folder: Path) -> DeploymentFiles:
    """Writes the deployment in its three forms; each file is replaced as a whole or not at all.

    The data come first, so that nothing a renderer does can lose what the device answered.

    Args:
        deployment: What to write.
        folder: Where to; made if it is missing.

    Returns:
        The three paths.

    Raises:
        EdgepruneError: A number in it is not finite, and JSON has no word for that.
    """
    from edgeprune.report import deployment_markdown, deployment_page

    text = to_json(deployment, "deployment")
    folder.mkdir(parents=True, exist_ok=True)
    files = files_of(folder)
    write_text(files.json, text)
    write_text(files.markdown, deployment_markdown.render(deployment))
    write_text(files.html, deployment_page.render(deployment))
    return files


def files_of(path: Path) -> DeploymentFiles:
    """The three files of a deployment's folder, or those beside its `deployment.json`."""
    folder = path if path.is_dir() else path.parent
    return DeploymentFiles(folder / _JSON, folder / _MARKDOWN, folder / _HTML)


def read(path: Path) -> Deployment:
    """Reads a deployment.

    Args:
        path: A `deployment.json`, or the folder that holds one.

    Raises:
        UsageError: There is no such file, it is not JSON, it has another version, or it is no deployment.
    """
    return read_document(
        files_of(path).json if path.is_dir() else path,
        Deployment,
        form=DEPLOYMENT_SCHEMA,
        noun="deployment",
        again="deploy again",
        nothing_there="give a deployment's folder or its deployment.json; one that was not finished has none",
    )


def deployments_of(run_folder: Path) -> list[Path]:
    """The `deployment.json` files of a run, by the names of their folders."""
    return sorted((run_folder / DEPLOYMENTS).glob(f"*/{_JSON}"))


def schema() -> dict[str, Any]:
    """The JSON Schema of `deployment.json`."""
    return schema_of(Deployment, DEPLOYMENT_SCHEMA)
