"""The operator's and the editor's view of sources, days and papers."""

from .editions import EditionAdmin, EntryAdmin
from .reading import ReadOnly
from .sources import FetchAdmin, SourceAdmin
from .stored import PaperAdmin, SignalAdmin, VocabularyAdmin

__all__ = [
    "EditionAdmin",
    "EntryAdmin",
    "FetchAdmin",
    "PaperAdmin",
    "ReadOnly",
    "SignalAdmin",
    "SourceAdmin",
    "VocabularyAdmin",
]
