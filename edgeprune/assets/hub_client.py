"""The part that talks to the Hugging Face Hub: a program of its own, run in a child process.

`huggingface_hub` and `datasets` read HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE and the like once, when they
are first imported, so in a long-lived process those variables would count or not by accident. A fresh
process always honours them, and the libraries' progress bars and warnings stay out of our output.

Usage: ``python hub_client.py REQUEST ANSWER``, both JSON files. The request says what to fetch (see
`edgeprune.assets.hub`); the answer holds either `path`, `commit` and `note`, or `reason` and `hint`. This
file imports nothing of edgeprune: it is run by its path.
"""

from __future__ import annotations

import json
import os
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

_INFO_TIMEOUT_SECONDS = 20.0
_NETWORK_LIBRARIES = ("requests", "httpx", "urllib3")


class _NotServedError(Exception):
    """The Hub does not serve this; `hint` says what to do."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


class _UnreachableError(_NotServedError):
    """The Hub could not be asked at all."""


def main(request_path: str, answer_path: str) -> None:
    """Answer one request; whatever goes wrong becomes an answer too."""
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    try:
        answer = _fetch_model(request) if request["kind"] == "model" else _fetch_dataset(request)
    except Exception as error:  # every failure is an answer, and the parent decides
        failure = _explain(error, request)
        answer = {"reason": str(failure), "hint": failure.hint}
    Path(answer_path).write_text(json.dumps(answer), encoding="utf-8")


def _fetch_model(request: dict[str, Any]) -> dict[str, Any]:
    from huggingface_hub import HfApi, snapshot_download

    wanted = {"allow_patterns": request["allow"], "ignore_patterns": ["*/*"]}
    try:
        info = HfApi().model_info(
            request["repo"], revision=request["revision"], timeout=_INFO_TIMEOUT_SECONDS
        )
    except Exception as error:
        failure = _explain(error, request)
        if not isinstance(failure, _UnreachableError):
            raise
        return _cached_model(request, failure)
    names = [sibling.rfilename for sibling in info.siblings or [] if "/" not in sibling.rfilename]
    if not any(name.endswith(".safetensors") for name in names):
        return {"names": names}
    snapshot = Path(snapshot_download(request["repo"], revision=info.sha, **wanted))
    # When the connection breaks just now, snapshot_download hands out whatever part it has.
    missing = [name for name in names if _matches(name, request["allow"]) and not (snapshot / name).exists()]
    if missing:
        raise _UnreachableError(f"the connection broke before {', '.join(missing)} came")
    return {"path": str(snapshot), "commit": str(info.sha), "note": ""}


def _cached_model(request: dict[str, Any], failure: _UnreachableError) -> dict[str, Any]:
    """The Hub client's own cache, which a user may have filled before going offline."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(request["repo"], revision=request["revision"], local_files_only=True)
    except LocalEntryNotFoundError:
        raise failure from None
    return {"path": found, "commit": Path(found).name, "note": str(failure)}


def _fetch_dataset(request: dict[str, Any]) -> dict[str, Any]:
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(request["repo"], revision=request["revision"], timeout=_INFO_TIMEOUT_SECONDS)
    import datasets  # after the first answer, since it takes seconds to import

    loaded = datasets.load_dataset(
        request["repo"], request["config"], split=request["split"], revision=info.sha
    )
    if isinstance(loaded, dict):
        if len(loaded) != 1:
            raise _NotServedError(
                f"the dataset has the splits {', '.join(loaded)} and the source names none",
                f"add #split={next(iter(loaded), '…')}",
            )
        (loaded,) = loaded.values()
    loaded.to_parquet(request["output"])
    return {"path": request["output"], "commit": str(info.sha), "note": ""}


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _explain(error: Exception, request: dict[str, Any]) -> _NotServedError:
    """What an exception of the Hub's libraries means for the user."""
    from huggingface_hub import constants, errors

    if isinstance(error, _NotServedError):
        return error
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return _explain(error.__cause__, request)  # the client only says that it found no copy of its own
    repo, revision = request["repo"], request["revision"]
    if isinstance(error, errors.OfflineModeIsEnabled):
        return _UnreachableError(
            "HF_HUB_OFFLINE is set, so the Hub is not asked", "unset HF_HUB_OFFLINE, or give another source"
        )
    if isinstance(error, errors.GatedRepoError):
        return _NotServedError(
            f"{repo} is gated", "accept its terms on its page and set HF_TOKEN to a token of that account"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        token = "HF_TOKEN has no access to it" if os.environ.get("HF_TOKEN") else "it is private"
        return _NotServedError(
            f"the Hub has no {request['kind']} {repo}, or {token}",
            "check the spelling; for a private repository set HF_TOKEN",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return _NotServedError(f"{repo} has no revision {revision!r}", "name a branch, a tag or a commit")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return _NotServedError(f"the Hub answers HTTP {status}: {_first_line(error)}")
    library = type(error).__module__.partition(".")[0]
    if library in _NETWORK_LIBRARIES or isinstance(error, (ConnectionError, TimeoutError)):
        return _UnreachableError(
            f"the Hub cannot be reached at {constants.ENDPOINT}: {_first_line(_root(error))}",
            "check the network, or set HF_ENDPOINT to a mirror",
        )
    return _NotServedError(f"{type(error).__name__}: {_first_line(error)}")


def _root(error: BaseException) -> BaseException:
    """The exception that it began with, e.g. the refused connection under three layers of wrapping."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else ""


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
