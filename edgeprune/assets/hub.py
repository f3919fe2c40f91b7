"""Sources on the Hugging Face Hub: asks a child process (`hub_client`) and takes over what it fetched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from edgeprune.assets.asset import SourceFailure
from edgeprune.assets.contents import MODEL_FILES, no_safetensors, require_fit
from edgeprune.assets.uri import HubSource

__all__ = ["fetch_from_hub"]


def fetch_from_hub(source: HubSource, target: Path, scratch: Path) -> str:
    """Fetch a model's safetensors, config and tokenizer, or one split of a dataset as a parquet file.

    The client's own cache (HF_HOME) is used and kept; `target` is a copy of its own.

    Args:
        source: The source.
        target: Where the folder or file shall be; must not exist.
        scratch: Existing empty folder for the talk with the child process.

    Returns:
        The commit, and how it was had if not from the Hub itself, for the asset's record.

    Raises:
        SourceFailure: The Hub cannot be reached or does not serve it, or it holds pickled weights only.
    """
    answer = _ask(source, target, scratch)
    if "reason" in answer:
        raise SourceFailure(answer["reason"], answer["hint"])
    if "names" in answer:
        raise no_safetensors(answer["names"], source.called)
    if source.kind == "model":
        _copy_model(source, Path(answer["path"]), target, answer["note"])
    detail = f"commit {answer['commit']}"
    if answer["note"]:
        return f"{detail}, from the Hub client's own cache because {answer['note']}"
    endpoint = os.environ.get("HF_ENDPOINT")
    return f"{detail}, from {_without_password(endpoint)}" if endpoint else detail


def _ask(source: HubSource, target: Path, scratch: Path) -> dict[str, Any]:
    target.parent.mkdir(parents=True, exist_ok=True)
    request = {
        "kind": source.kind,
        "repo": source.repo,
        "revision": source.revision,
        "config": source.config,
        "split": source.split,
        "output": str(target.absolute()),
        "allow": MODEL_FILES,
    }
    request_path, answer_path = scratch / "request.json", scratch / "answer.json"
    request_path.write_text(json.dumps(request), encoding="utf-8")
    program = Path(__file__).with_name("hub_client.py")
    # -P: the program's own folder must not shadow top-level modules.
    done = subprocess.run(
        [sys.executable, "-P", str(program), str(request_path), str(answer_path)],
        env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_TRUST_REMOTE_CODE": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0 or not answer_path.exists():
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise SourceFailure(f"the Hub client ended with status {done.returncode}: {last}")
    answer: dict[str, Any] = json.loads(answer_path.read_text(encoding="utf-8"))
    return {key: _without_password(text) if isinstance(text, str) else text for key, text in answer.items()}


def _copy_model(source: HubSource, snapshot: Path, target: Path, note: str) -> None:
    """Copy the wanted files; what came from the client's cache unasked may be part of a model only."""
    target.mkdir(parents=True)
    for file in snapshot.iterdir():
        if file.is_file() and any(fnmatchcase(file.name, pattern) for pattern in MODEL_FILES):
            shutil.copyfile(file, target / file.name)
    if not note:
        return
    try:
        require_fit(target, "model", source.called)
    except SourceFailure as failure:
        raise SourceFailure(
            f"{note}; the Hub client's own cache holds part of it only", failure.hint
        ) from failure


def _without_password(text: str) -> str:
    return re.sub(r"://[^/@\s]+@", "://***@", text)
