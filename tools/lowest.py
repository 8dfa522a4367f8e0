"""Print the lowest version of each declared dependency, as constraints for pip: `make lowest`."""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest_versions(pyproject: Path) -> list[str]:
    """`name==version` for each `name>=version` of the dependencies and of the extras."""
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = sorted({line for group in groups for line in group})
    bounds = (re.match(r"([\w-]+)>=([\w.]+)", line) for line in requirements)
    return [f"{bound[1]}=={bound[2]}" for bound in bounds if bound]


if __name__ == "__main__":
    print("\n".join(lowest_versions(PYPROJECT)))
