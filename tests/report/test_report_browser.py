"""The page in a real browser: nothing sticks out sideways and nothing complains."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from comparison_sample import sample_comparison
from deployment_sample import sample_deployment
from hostile import hostile_report
from mask_sample import head_record, hostile_record, mask_record, mask_report
from sample import sample_report
from structure_sample import (
    distill_record,
    hostile_distill,
    hostile_structure,
    structure_record,
    structure_report,
)

from edgeprune.report import comparison_page, deployment_page
from edgeprune.report.html import render

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --enable-logging=stderr "
    "--virtual-time-budget=5000"
)
# The page allows itself no script, so a page around it measures it, as wide as a phone or a desk.
FRAME = """<!DOCTYPE html><link rel="icon" href="data:,"><pre id="found"></pre>
<iframe src="report.html" style="width:{width}px;height:900px;border:0"></iframe>
<script>
document.querySelector("iframe").addEventListener("load", event => {{
  const root = event.target.contentDocument.documentElement;
  const out = [...root.querySelectorAll("main *")].filter(element =>
    !element.closest(".scroll, pre, svg") && element.getBoundingClientRect().right > root.clientWidth + 1);
  document.getElementById("found").textContent = JSON.stringify({{
    width: root.clientWidth, content: root.scrollWidth, out: out.slice(0, 5).map(element => element.outerHTML.slice(0, 200)),
  }});
}});
</script>"""

pytestmark = [
    pytest.mark.recipe,
    pytest.mark.skipif(
        BROWSER is None, reason="no chromium, chromium-browser or google-chrome on this machine"
    ),
]

REPORTS = {
    "sample": sample_report,
    "long words": partial(hostile_report, "-" + "x" * 70),
    "hostile": hostile_report,
    "masks": mask_report,
    "masks of many layers and of heads": lambda: mask_report(mask_record(12, 768, 0.03), head_record()),
    "hostile masks": lambda: mask_report(hostile_record()),
    "cut and distilled": lambda: structure_report(structure_record(), distill_record(), structure_record(12)),
    "hostile cut and distillation": lambda: structure_report(hostile_structure(), hostile_distill()),
    "cut and distilled with long words": lambda: structure_report(
        hostile_structure("-" + "x" * 70), hostile_distill("-" + "x" * 70)
    ),
    "masks with long words": lambda: mask_report(hostile_record("-" + "x" * 70)),
}

PAGES = {name: partial(lambda report: render(report()), report) for name, report in REPORTS.items()} | {
    "deployment": lambda: deployment_page.render(sample_deployment()),
    "emulated deployment": lambda: deployment_page.render(sample_deployment(emulated=True)),
    "comparison": lambda: comparison_page.render(sample_comparison()),
}
# Takes one choice of a filter away and says what is left to see.
FILTERING = """<!DOCTYPE html><link rel="icon" href="data:,"><pre id="found"></pre>
<iframe src="report.html" style="width:1200px;height:900px;border:0"></iframe>
<script>
document.querySelector("iframe").addEventListener("load", event => {
  const page = event.target.contentDocument;
  const seen = selector => [...page.querySelectorAll(selector)].filter(found => found.getClientRects().length)
    .map(found => found.dataset.row || found.dataset.group || found.id.split("-").pop());
  const all = () => ({rows: seen("[data-row]"), marks: seen("[id*=mark-row]"), groups: seen("[data-group]")});
  const before = all();
  page.getElementById("show-run-1").click();
  const oneRun = all();
  page.getElementById("show-run-1").click();
  page.getElementById("show-target-1").click();
  document.getElementById("found").textContent = JSON.stringify({before, oneRun, oneTarget: all()});
});
</script>"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):  # noqa: A002
        """Says nothing."""


@pytest.fixture
def serve(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_the_page_fits_its_window_and_the_console_stays_empty(serve, tmp_path, name, width):
    (tmp_path / "report.html").write_text(PAGES[name](), encoding="utf-8")
    found = seen(serve, tmp_path, FRAME.format(width=width))
    assert found["width"] == pytest.approx(width, abs=20)
    assert found["out"] == []
    assert found["content"] <= found["width"]


def test_filters_hide_rows_marks_and_whole_sections(serve, tmp_path):
    comparison = sample_comparison()
    (tmp_path / "report.html").write_text(comparison_page.render(comparison), encoding="utf-8")
    found = seen(serve, tmp_path, FILTERING)
    assert sorted(map(int, found["before"]["rows"])) == list(range(len(comparison.rows)))
    first = {str(index) for index, row in enumerate(comparison.rows) if row.run == "A"}
    for kind in ("rows", "marks"):
        assert set(found["oneRun"][kind]) == set(found["before"][kind]) & first
        assert found["oneRun"][kind]
    x86 = {str(index) for index, row in enumerate(comparison.rows) if row.target == "x86-server"}
    assert set(found["oneTarget"]["rows"]) == x86
    assert found["oneTarget"]["groups"] == ["0"]


def seen(serve: str, folder: Path, frame: str) -> dict[str, Any]:
    """What a page around `report.html` found; the browser's console must stay empty."""
    (folder / "frame.html").write_text(frame, encoding="utf-8")
    command = [
        BROWSER,
        *QUIET.split(),
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1400,1000",
        "--dump-dom",
        f"{serve}/frame.html",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    measured = re.search(r'<pre id="found">(.+?)</pre>', done.stdout)
    assert measured, done.stderr[-2000:]
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    return json.loads(html.unescape(measured[1]))
