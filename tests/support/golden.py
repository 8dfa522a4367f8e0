"""What the authors' own code says of the sample of BAPPS."""

from __future__ import annotations

import json

from pmbench.evaluation import reference_values
from support.paths import TESTS

GOLDEN = json.loads((TESTS / "golden" / "bapps_sample.json").read_text())
# key -> metric and tolerance, of those that compare one to one
PAIRS = {
    key: (entry.metric, entry.tolerance.bounds[0][1])
    for key, entry in reference_values.GOLDEN.items()
    if entry.tolerance in (reference_values.PLAIN, reference_values.DEEP)
}
