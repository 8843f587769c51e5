"""`manage.py fit_trending`: learn anew from votes what words say about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from papers import expecting
from papers.management.base import ExplainedCommand

EPILOG = """\
examples:
  manage.py fit_trending                         use what this installation's papers say
  manage.py fit_trending --export trending.tsv.gz    write it to a file, change nothing

What a paper's words, authors and organization say about the votes it will gather ships with the
program. Authors, organizations and submitters are read anew whenever an edition closes; words are
weighed anew every week by itself, once more settled papers are stored than were counted for the
table that ships. This command does it now.
"""


class Command(ExplainedCommand):
    help = "Learns from the votes on settled papers how much each word says about them."
    epilog = EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--export",
            type=Path,
            metavar="FILE",
            help="write words, authors and organizations in the format of the shipped table",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["export"]:
            self._export(options["export"])
            return
        try:
            fitted = expecting.fit(timezone.now())
        except expecting.TooFewPapersError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Fitted on {fitted.papers} papers; it is in use from now on.")

    def _export(self, path: Path) -> None:
        try:
            path.write_bytes(expecting.export(timezone.now()))
        except OSError as error:
            raise CommandError(f"--export: {error.strerror}: {path}") from None
        self.stdout.write(f"Wrote {path}.")
