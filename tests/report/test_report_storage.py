from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from sample import sample_report

from edgeprune.errors import EdgepruneError, UsageError
from edgeprune.report import storage
from edgeprune.report.model import SCHEMA


def test_a_report_reads_back_as_it_was_written(tmp_path):
    report = sample_report()
    files = storage.write(report, tmp_path / "runs" / "one")
    assert storage.read(files.json) == report
    assert storage.read(tmp_path / "runs" / "one") == report
    assert sorted(path.name for path in files.json.parent.iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]


def test_a_report_from_before_throughput_was_measured_reads_and_renders(tmp_path):
    file = storage.write(sample_report(), tmp_path).json
    document = json.loads(file.read_text(encoding="utf-8"))
    for target in document["targets"]:
        for row in (*target["variants"], *target["dense"]):
            del row["throughput"]
    file.write_text(json.dumps(document), encoding="utf-8")
    old = storage.read(file)
    assert all(row.throughput is None for target in old.targets for row in target.variants)
    files = storage.write(old, tmp_path / "again")
    assert "hroughput" not in files.markdown.read_text(encoding="utf-8")
    assert "Throughput" not in files.html.read_text(encoding="utf-8")


def test_the_same_report_gives_the_same_bytes(tmp_path):
    first, second = (storage.write(sample_report(), tmp_path / name) for name in ("a", "b"))
    for name in ("json", "markdown", "html"):
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes()


def test_json_is_sorted_and_indented_for_diffs(tmp_path):
    text = storage.write(sample_report(), tmp_path).json.read_text(encoding="utf-8")
    document = json.loads(text)
    assert text == json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert document["format"] == SCHEMA


def test_a_second_write_replaces_the_first(tmp_path):
    storage.write(sample_report(), tmp_path)
    storage.write(sample_report().model_copy(update={"seed": 7}), tmp_path)
    assert storage.read(tmp_path).seed == 7


def test_a_number_that_is_not_finite_is_named_and_nothing_is_written(tmp_path):
    report = sample_report()
    stages = [report.stages[0].model_copy(update={"record": {"loss": [0.1, float("nan")]}})]
    with pytest.raises(EdgepruneError, match=r"stages\.0\.record\.loss\.1"):
        storage.write(report.model_copy(update={"stages": stages}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_data_survive_a_renderer_that_fails(tmp_path):
    broken = sample_report().model_copy(update={"metric": "unheard-of"})
    with pytest.raises(KeyError):
        storage.write(broken, tmp_path)
    assert storage.read(tmp_path).metric == "unheard-of"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "edgeprune.report/9"}, "format 'edgeprune.report/9'"),
        ({"format": None}, "no edgeprune report"),
        ({"seed": "three"}, "seed: "),
        ({"colour": "red"}, "colour: "),
    ],
)
def test_a_report_that_does_not_fit_is_a_usage_error(tmp_path, change: dict[str, Any], message):
    files = storage.write(sample_report(), tmp_path)
    files.json.write_text(json.dumps(json.loads(files.json.read_text()) | change), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        storage.read(tmp_path)
    assert message in caught.value.message
    assert caught.value.where == str(files.json)
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b'{"format": ', b"\xff\xfe\x00", b"[1, 2]", b'"text"'])
def test_a_broken_file_is_a_usage_error(tmp_path, content):
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(UsageError, match="report") as caught:
        storage.read(tmp_path)
    assert caught.value.hint


def test_no_report_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="there is no report"):
        storage.read(tmp_path)


def test_the_schema_describes_what_is_written(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    document = json.loads(storage.write(sample_report(), tmp_path).json.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(storage.schema())
    validator.check_schema(storage.schema())
    validator.validate(document)
    assert not validator.is_valid(document | {"format": "edgeprune.report/9"})
    assert not validator.is_valid(document | {"colour": "red"})


def test_the_model_and_storage_are_light_to_import():
    program = (
        "import sys, edgeprune.report.model, edgeprune.report.storage; "
        "print([name for name in ('jinja2', 'matplotlib', 'numpy', 'rich', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
