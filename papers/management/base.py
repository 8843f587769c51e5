"""What commands have in common: help that ends with examples, and days as arguments."""

from __future__ import annotations

from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter


class ExplainedCommand(BaseCommand):
    """A command whose help ends with `epilog`, laid out as it is written."""

    epilog: str

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=self.epilog, formatter_class=_Help, **kwargs
        )


def day(text: str) -> date:
    """The type of an argument that is a day."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no day such as 2025-12-18") from None


class _Help(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    pass
