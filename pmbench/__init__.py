"""pmbench measures which perceptual image metric agrees with people.

Importing this package is cheap: torch and pandas are loaded by the modules that need them.
"""

from pmbench.errors import PmbenchError

__version__ = "0.1.0"

__all__ = ["PmbenchError", "__version__"]
