"""Leaf families and their priors: one file a family, or a few that share their parts.

The names come from `registry`, the table of all families.
"""

from typing import TYPE_CHECKING

from likelax.families.registry import *  # noqa: F403

if not TYPE_CHECKING:  # type checkers read the names from the imports of the registry
    from likelax.families.registry import __all__ as __all__
