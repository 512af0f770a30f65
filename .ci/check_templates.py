"""Compiles every template of the project, so that a misspelt tag fails here and not on a page."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> int:
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trigger_site.settings")
    import django
    from django.template import TemplateSyntaxError, engines

    django.setup()
    failures = 0
    paths = [*ROOT.glob("templates/**/*.html"), *ROOT.glob("apps/*/templates/**/*.html")]
    for path in paths:
        try:
            engines["django"].from_string(path.read_text())
        except TemplateSyntaxError as error:
            print(f"{path.relative_to(ROOT)}: {error}", file=sys.stderr)
            failures += 1
    print(f"{len(paths)} templates compiled, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
