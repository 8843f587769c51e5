"""The operator's desk: readers with their wishes, their consent, and who is not to be mailed."""

from . import records
from .readers import SubscriberAdmin

__all__ = ["SubscriberAdmin", "records"]
