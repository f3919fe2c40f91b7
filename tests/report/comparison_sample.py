"""A fixed comparison of two runs with two deployments each, made as the command makes it."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from deployment_sample import sample_deployment
from sample import sample_report

from edgeprune.pipeline.comparing import compare
from edgeprune.report import deployment_storage, storage
from edgeprune.report.comparison import Comparison
from edgeprune.report.deployment import Deployment
from edgeprune.report.documents import to_json
from edgeprune.report.model import Report

OTHER = {"run_id": "20261123-080000-00ff", "recipe": "reviews-third", "seed": 1}


def keep(report: Report, folder: Path, *deployments: Deployment) -> Path:
    """A run's folder with the data of a report and of deployments, and without their pages."""
    folder.mkdir(parents=True)
    storage.files_of(folder).json.write_text(to_json(report, "report"), encoding="utf-8")
    for number, item in enumerate(deployments):
        place = folder / deployment_storage.DEPLOYMENTS / str(number)
        place.mkdir(parents=True)
        deployment_storage.files_of(place).json.write_text(to_json(item, "deployment"), encoding="utf-8")
    return folder


@cache
def sample_comparison() -> Comparison:
    """Two runs of the same original, each on a board and on an emulated device too."""
    with tempfile.TemporaryDirectory() as name:
        folders = []
        for report in (sample_report(), sample_report().model_copy(update=OTHER)):
            ids = {"recipe": report.recipe, "run_id": report.run_id}
            deployed = [sample_deployment(emulated=emulated, **ids) for emulated in (False, True)]
            folders.append(keep(report, Path(name) / report.recipe, *deployed))
        return compare(folders)
