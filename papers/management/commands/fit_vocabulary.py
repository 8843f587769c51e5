"""`manage.py fit_vocabulary`: count anew in how many papers each term occurs."""

from __future__ import annotations

import gzip
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from papers import encoding
from papers.management.base import ExplainedCommand
from papers.models import Paper
from papers.vectors import terms

EXPORTED_AT_LEAST = 5  # papers; rarer terms weigh the same without the table
EPILOG = """\
examples:
  manage.py fit_vocabulary                             use this installation's own counts
  manage.py fit_vocabulary --export frequencies.tsv.gz write them to a file, change nothing

A word that is in every paper says little about any of them. How common words are is counted once
and ships with the program; an installation that holds more papers than were counted then can
count its own. Nothing is lost: stored papers keep their words, only the weights change.
"""


class Command(ExplainedCommand):
    help = (
        "Counts how common words are in the stored papers, and ranks by those counts from then on."
    )
    epilog = EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--export",
            type=Path,
            metavar="FILE",
            help="write the counts in the format of the shipped table (gzipped lines of a term "
            f"and its papers, from {EXPORTED_AT_LEAST} papers on) instead of using them",
        )
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        hidden = True if options["no_progress"] else None
        if options["export"]:
            self._export(options["export"], hidden=hidden)
            return
        self._encode(hidden=hidden)
        try:
            fitted = encoding.fit()
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Counted {fitted.documents} papers; they are in use from now on.")

    def _encode(self, *, hidden: bool | None) -> None:
        """In batches, each kept as it is done, so that an interrupted run goes on where it was."""
        current = encoding.encoder().id
        ids = list(
            Paper.objects.without_vector(current).order_by("id").values_list("id", flat=True)
        )
        encoded = 0
        with tqdm(
            total=len(ids), unit="paper", file=sys.stderr, disable=hidden, leave=False
        ) as bar:
            for batch in _batches(ids):
                encoded += encoding.encode_missing(batch)
                bar.update(len(batch))
        if encoded:
            self.stdout.write(f"Encoded {encoded} papers.")

    def _export(self, path: Path, *, hidden: bool | None) -> None:
        papers = Paper.objects.order_by("id").only("title", "abstract")
        count = papers.count()
        if not count:
            raise CommandError("No papers are stored yet: run fetch_papers first.")
        found: Counter[str] = Counter()
        for paper in tqdm(
            papers.iterator(), total=count, unit="paper", file=sys.stderr, disable=hidden
        ):
            found.update(set(terms(paper.text)))
        kept = sorted((term, n) for term, n in found.items() if n >= EXPORTED_AT_LEAST)
        body = f"documents\t{count}\n" + "".join(f"{term}\t{n}\n" for term, n in kept)
        try:
            # Without a time stamp, so that the same papers give the same file.
            path.write_bytes(gzip.compress(body.encode(), 9, mtime=0))
        except OSError as error:
            raise CommandError(f"--export: {error.strerror}: {path}") from None
        self.stdout.write(f"Wrote {len(kept)} terms of {count} papers to {path}.")


def _batches(ids: Sequence[int]) -> list[Sequence[int]]:
    size = encoding.ENCODE_BATCH
    return [ids[start : start + size] for start in range(0, len(ids), size)]
