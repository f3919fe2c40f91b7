"""Assets: from the sources that a recipe lists to a verified file or folder on this machine.

`resolve` fetches, `lookup` never does; `problems` and `check` read URIs only, so that a recipe's mistakes
show at validation. Importing this room imports no client library.
"""

from edgeprune.assets.asset import Asset, Attempt, Kind
from edgeprune.assets.resolving import lookup, resolve
from edgeprune.assets.uri import check, problems

__all__ = ["Asset", "Attempt", "Kind", "check", "lookup", "problems", "resolve"]
