"""What a user is told where something is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pmbench.utils.errors import PmbenchError


def message_of(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    """Call what must be refused; return the sentence."""
    with pytest.raises(PmbenchError) as caught:
        call(*arguments, **options)
    return str(caught.value)
