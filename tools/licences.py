"""Lists under which terms everything stands that Diptych brings or needs: packages, weights, copied files.

python tools/licences.py                # what is installed here, by extra
python tools/licences.py --json
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print a table; a package without stated terms is a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    found = [*packages(), *files()]
    if given.json:
        print(json.dumps(found, indent=1))
    else:
        for one in found:
            print(f"{one['what']:32} {one['version']:12} {one['terms']:44} {one['for']}")
    lacking = [one["what"] for one in found if not one["terms"]]
    if lacking:
        sys.exit(f"no terms are stated for {', '.join(lacking)}")


def packages() -> Iterator[dict[str, str]]:
    """Every installed package that Diptych needs, directly or not, with the first extra that needs it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"": project["dependencies"], **project["optional-dependencies"]}
    seen: set[str] = {"diptych"}
    for extra, requirements in wanted.items():
        waiting = [Requirement(one) for one in requirements]
        while waiting:
            requirement = waiting.pop(0)
            name = canonicalize_name(requirement.name)
            chosen = [{"extra": one} for one in (*requirement.extras, "")]
            if name in seen:
                continue
            try:
                distribution = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                continue  # for another system or Python, or an extra that is not installed
            seen.add(name)
            yield {
                "what": name,
                "version": distribution.version,
                "terms": terms(distribution.metadata) or enclosed(distribution),
                "for": extra or "always",
            }
            for text in distribution.requires or ():
                below = Requirement(text)
                if below.marker is None or any(below.marker.evaluate(one) for one in chosen):
                    waiting.append(below)


def terms(metadata: Any) -> str:
    """What a package's metadata state: an expression, else its classifiers, else the first line of a text."""
    if stated := metadata.get("License-Expression"):
        return str(stated)
    classifiers = [
        one.rpartition(" :: ")[2]
        for one in metadata.get_all("Classifier") or ()
        if one.startswith("License :: ") and not one.endswith("OSI Approved")
    ]
    text = (metadata.get("License") or "").strip().partition("\n")[0]
    return "; ".join(classifiers) or re.sub(r"\s+", " ", text)[:80]


def enclosed(distribution: importlib.metadata.Distribution) -> str:
    """The terms that a package brings as a file: the name of those that all know, else the first line."""
    for file in distribution.files or ():
        if re.match(r"(licen[cs]e|copying)", file.name, re.IGNORECASE):
            text = Path(str(file.locate())).read_text(encoding="utf-8")
            known = "Permission is hereby granted, free of charge" in text
            return "MIT" if known else text.strip().partition("\n")[0].strip()
    return ""


def files() -> Iterator[dict[str, str]]:
    """Weights that are inside, and files of others that were copied in."""
    for card in sorted((ROOT / "docs" / "models").glob("*.md")):
        lines = iter(card.read_text(encoding="utf-8").splitlines())
        for line in lines:
            headings = _cells(line)
            if "licence" not in headings:
                continue
            next(lines)  # the rule below the headings
            for row in takewhile(bool, map(_cells, lines)):
                told = row[headings.index("licence")].replace("see below", f"see docs/models/{card.name}")
                yield {"what": row[0], "version": "", "terms": told, "for": f"the model {card.stem}"}
    for notice in sorted(one for folder in ("src", "docs") for one in (ROOT / folder).rglob("LICENSE*")):
        text = notice.read_text(encoding="utf-8").strip()
        known = "Permission is hereby granted, free of charge" in text
        stated = "MIT" if known else text.partition("\n")[0]
        yield {"what": notice.parent.name, "version": "", "terms": stated, "for": "copied in"}


def _cells(line: str) -> list[str]:
    """Those of a row of a Markdown table; none of any other line."""
    return [cell.strip() for cell in line.strip("| ").split("|")] if line.startswith("|") else []


if __name__ == "__main__":
    main()
