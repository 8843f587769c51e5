"""The operator's and the editor's view of sources, days and papers."""

from .catching_up import HarvestAdmin, WantedCategoryAdmin, WantedPaperAdmin
from .editions import EditionAdmin, EntryAdmin
from .reading import ReadOnly
from .sources import FetchAdmin, SourceAdmin
from .stored import PaperAdmin, RevisionAdmin, SignalAdmin, TrendingFitAdmin, VocabularyAdmin

__all__ = [
    "EditionAdmin",
    "EntryAdmin",
    "FetchAdmin",
    "HarvestAdmin",
    "PaperAdmin",
    "ReadOnly",
    "RevisionAdmin",
    "SignalAdmin",
    "SourceAdmin",
    "TrendingFitAdmin",
    "VocabularyAdmin",
    "WantedCategoryAdmin",
    "WantedPaperAdmin",
]
