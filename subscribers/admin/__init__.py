"""The operator's desk: readers with their wishes, their consent, who is not to be mailed, and the
ways by which mail leaves.
"""

from . import records, ways
from .readers import SubscriberAdmin

__all__ = ["SubscriberAdmin", "records", "ways"]
