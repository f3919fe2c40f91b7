from __future__ import annotations

import json

import pytest
from deployment_sample import board, disagreements, sample_deployment, variant
from golden_text import same_as_golden
from hostile import ATTACK, attacked
from page import Page
from pydantic import ValidationError
from rich.cells import cell_len

from edgeprune.errors import EdgepruneError, UsageError
from edgeprune.report import deployment_console, deployment_markdown, deployment_page, deployment_storage
from edgeprune.report.deployment import Deployment, Sample

FORMS = (deployment_page.render, deployment_markdown.render, deployment_console.to_text)
LATENCIES = ("8.10", "15.20", "29.90")


def changed(emulated: bool = False, **values: object) -> Deployment:
    """The sample with other values, checked anew."""
    return Deployment.model_validate(sample_deployment(emulated=emulated).model_dump() | values)


def test_a_deployment_reads_back_as_it_was_written(tmp_path):
    found = sample_deployment()
    files = deployment_storage.write(found, tmp_path / "deployments" / "pi")
    assert deployment_storage.read(files.json) == found == deployment_storage.read(files.json.parent)
    assert deployment_storage.deployments_of(tmp_path) == [files.json]
    assert {path.name for path in files.json.parent.iterdir()} == {
        "deployment.html",
        "deployment.json",
        "deployment.md",
    }


def test_a_run_without_deployments_has_none(tmp_path):
    assert deployment_storage.deployments_of(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no deployment"),
        ("{", "not valid JSON"),
        ('{"format": "edgeprune.deployment/9"}', "format 'edgeprune.deployment/9'"),
        ('{"format": "edgeprune.deployment/1"}', "does not fit its format: recipe"),
    ],
)
def test_what_is_no_deployment_is_a_usage_error(tmp_path, text, message):
    if text is not None:
        (tmp_path / "deployment.json").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        deployment_storage.read(tmp_path)
    assert message in caught.value.message
    assert caught.value.hint


def test_a_number_that_is_not_finite_leaves_nothing(tmp_path):
    with pytest.raises(EdgepruneError, match="build_agreement"):
        deployment_storage.write(sample_deployment(build_agreement=float("nan")), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_schema_describes_what_is_written(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    document = json.loads(deployment_storage.write(sample_deployment(), tmp_path).json.read_text())
    jsonschema.Draft202012Validator(deployment_storage.schema()).validate(document)


@pytest.mark.parametrize("field", ["latency", "load_seconds", "peak_memory_bytes"])
def test_an_emulated_device_cannot_have_times_or_memory(field):
    measured = variant().model_dump()
    row = variant(emulated=True).model_dump() | {field: measured[field]}
    with pytest.raises(ValidationError, match="of an emulated device are the emulator's"):
        changed(emulated=True, variant=row)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_that_a_device_is_emulated_and_shows_no_latency(form):
    emulated, real = form(sample_deployment(emulated=True)), form(sample_deployment())
    assert "This device is emulated" in " ".join(emulated.split())
    assert "This device is emulated" not in " ".join(real.split())
    assert all(number in real and number not in emulated for number in LATENCIES)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"answered": 3, "available": 2}, "3 of 2 examples"),
        ({"answered": 1, "available": 2}, "needs the seed"),
    ],
)
def test_an_impossible_sample_is_refused(sample, message):
    with pytest.raises(ValidationError, match=message):
        Sample(**sample)


@pytest.mark.parametrize("disagreed", [2, 2563])
def test_disagreements_are_counted_right(disagreed):
    with pytest.raises(ValidationError, match="disagreements are listed"):
        changed(disagreed=disagreed)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_how_much_was_answered(form):
    sampled = changed(sampled={"answered": 200, "available": 2562, "seed": 7})
    assert "200 of 2,562 validation examples, drawn with seed 7" in " ".join(form(sampled).split())
    assert "all 2,562 validation examples" in " ".join(form(sample_deployment()).split())


@pytest.mark.parametrize("form", FORMS)
def test_disagreements_show_the_text_and_both_scores_the_surest_first(form):
    text = form(sample_deployment())
    assert text.index("0.718") < text.index("0.529") < text.index("0.507")
    assert "neither here nor there" in " ".join(text.split())
    none = form(changed(disagreed=0, disagreements=[]))
    assert "original&#39;s answer on all" in none or "original's answer on all" in " ".join(none.split())


@pytest.mark.parametrize("form", FORMS)
def test_a_long_list_is_cut_and_says_so(form):
    many = [disagreements()[0].model_copy(update={"row": row}) for row in range(150)]
    assert "deployment.json has more" in " ".join(
        form(sample_deployment(disagreed=150, disagreements=many)).split()
    )


def test_the_page_stands_alone_and_is_well_formed():
    page = Page(deployment_page.render(sample_deployment()))
    assert page.tags["script"] == page.tags["link"] == page.tags["img"] == 0
    assert page.tags["caption"] == page.tags["table"] == 3
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    wanted = {value[1:] for value in page.values("href")}
    wanted |= {name for value in page.values("aria-labelledby") for name in value.split()}
    assert wanted <= set(ids)


def hostile_deployment() -> Deployment:
    found = sample_deployment()
    texts = [row.model_copy(update={"texts": [ATTACK], "label": ATTACK}) for row in disagreements()]
    scores = {f"fresh{ATTACK}": 0.4, f"rotten{ATTACK}": 0.6}
    texts[0] = texts[0].model_copy(update={"original": scores, "device": scores})
    foreign = attacked(
        {name: getattr(found, name) for name in ("recipe", "run_id", "target", "reason", "command")}
    )
    device = board().model_copy(
        update=attacked(
            {"name": "pi", "address": "ssh://pi", "system": "x", "python": "3", "conditions": ["x"]}
        )
    )
    return found.model_copy(update={**foreign, "device": device, "disagreements": texts})


def test_foreign_text_is_never_markup():
    found = hostile_deployment()
    source = deployment_page.render(found)
    page = Page(source)
    assert page.tags["script"] == page.tags["img"] == 0
    assert "alert('x')" in "".join(page.text)
    for form in FORMS:
        assert "\x1b" not in form(found)
        assert "\u202e" not in form(found)


def test_markdown_keeps_foreign_text_text():
    markdown_it = pytest.importorskip("markdown_it")
    text = deployment_markdown.render(hostile_deployment())
    html = markdown_it.MarkdownIt("commonmark").enable("table").render(text)
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("<h1>") == 1


def test_the_forms_are_the_golden_texts():
    same_as_golden("deployment.txt", deployment_console.to_text(sample_deployment()))
    same_as_golden("deployment_emulated.md", deployment_markdown.render(sample_deployment(emulated=True)))


@pytest.mark.parametrize("width", [60, 100, 160])
def test_no_line_is_wider_than_the_console(width):
    text = deployment_console.to_text(sample_deployment(), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
