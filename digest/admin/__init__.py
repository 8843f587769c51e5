"""The operator's desk: the ledger's rows, and the readers with what they got."""

from . import holds, ledger, readers, slots

__all__ = ["holds", "ledger", "readers", "slots"]
