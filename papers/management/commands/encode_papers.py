"""`manage.py encode_papers`: what the model in use makes of every stored paper."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from papers import encoding
from papers.management.base import ExplainedCommand
from papers.vectors import ModelError

TRIES = 5  # at a model elsewhere that asks for rest, and that gives whole batches in between
LONGEST_WAIT_SECONDS = 120.0
INTERRUPTED = 130  # as a shell has it
EPILOG = """\
examples:
  manage.py encode_papers            what is missing: after choosing a model, or after a long import
  manage.py encode_papers --all      everything anew, where the stored vectors are in doubt

Every batch is kept as it is done: interrupt it whenever you like, and start it again. New papers
need no command, they are encoded within minutes. Until a paper is encoded, its words decide.
"""


class Command(ExplainedCommand):
    help = (
        "Has the model of SEMANTIC_MODEL read the stored papers that it has not read yet, the "
        "newest first. Exit code 0 once none is left, 1 if the model fails, 130 if interrupted."
    )
    epilog = EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--all", action="store_true", help="forget what this model has made, and begin anew"
        )
        parser.add_argument(
            "--batch",
            type=int,
            default=encoding.MEANINGS_AT_ONCE,
            metavar="N",
            help="papers that are kept together (default: %(default)s)",
        )
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["batch"] < 1:
            raise CommandError("--batch must be 1 or more.")
        try:
            model = encoding.chosen_model()
        except ModelError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Model: {model.id}, {model.dimensions} dimensions.")
        if options["all"]:
            self.stdout.write(f"Forgot what it made of {encoding.forget_meanings()} papers.")
        self._encode(options["batch"], hidden=True if options["no_progress"] else None)

    def _encode(self, batch: int, *, hidden: bool | None) -> None:
        total, made = encoding.missing_meanings().count(), 0
        bar = tqdm(total=total, unit="paper", file=sys.stderr, disable=hidden, leave=False)
        try:
            with bar:
                for number in _patiently(batch):
                    made += number
                    bar.update(number)
        except ModelError as error:
            raise CommandError(f"{error}. {_stand(made)}") from None
        except KeyboardInterrupt:
            self.stdout.write(f"Interrupted. {_stand(made)}")
            raise SystemExit(INTERRUPTED) from None
        self.stdout.write(_stand(made))


def _patiently(batch: int) -> Iterator[int]:
    """Batches; a model that asks for rest gets it, TRIES times without one in between."""
    tries = 0
    while True:
        try:
            for number in encoding.meanings(batch=batch):
                tries = 0
                yield number
        except ModelError as error:
            tries += 1
            if not 0 < error.retry_after <= LONGEST_WAIT_SECONDS or tries == TRIES:
                raise
            time.sleep(error.retry_after)
        else:
            return


def _stand(made: int) -> str:
    left = encoding.missing_meanings().count()
    return f"Encoded {made} papers, {left} left." if left else f"Encoded {made} papers, none left."
