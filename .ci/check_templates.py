"""Compiles every template of the project, so that a misspelt tag fails here, not on a page; no line may be too long."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

LONGEST_LINE = 140
"""What a reviewer reads in a diff without scrolling."""


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trigger_site.settings")
    import django

    django.setup()
    paths = sorted([*ROOT.glob("templates/**/*.html"), *ROOT.glob("apps/*/templates/**/*.html")])
    complaints = [complaint for path in paths for complaint in complaints_about(path)]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    print(f"{len(paths)} templates compiled, {len(complaints)} complaints")
    return 1 if complaints else 0


def complaints_about(path: Path) -> Iterator[str]:
    from django.template import TemplateSyntaxError, engines

    text = path.read_text()
    place = path.relative_to(ROOT)
    try:
        engines["django"].from_string(text)
    except TemplateSyntaxError as error:
        yield f"{place}: {error}"
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > LONGEST_LINE:
            yield f"{place}:{number}: the line has {len(line)} characters; at most {LONGEST_LINE} can be read in a diff"


if __name__ == "__main__":
    raise SystemExit(main())
