"""Objects of other libraries as models and log joints of this one.

`External` needs no other library; each other module needs the one that it names.
"""

from likelax.interop.external import External

__all__ = ["External"]
