"""pmbench measures which perceptual image metric agrees with people.

``pmbench.metric("lpips-vgg", device="cuda")`` gives a metric as a function of two batches of
images, differentiable where the metric is; ``pmbench.loss("lpips-vgg", targets=photographs)`` one
as a loss. What stands in ``__all__`` is public; the rest of the
package may change from one version to the next.

Importing this package is cheap: torch and pandas are loaded by the modules that need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pmbench.utils.errors import PmbenchError

if TYPE_CHECKING:
    from pmbench.metrics.api import metric
    from pmbench.metrics.loss import loss

__version__ = "0.1.0"

__all__ = ["PmbenchError", "__version__", "loss", "metric"]


def __getattr__(name: str) -> Any:
    # not an import statement: the layers below pmbench.metrics.api import this package
    modules = {"metric": "pmbench.metrics.api", "loss": "pmbench.metrics.loss"}
    if name in modules:
        return getattr(import_module(modules[name]), name)
    raise AttributeError(f"module 'pmbench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
