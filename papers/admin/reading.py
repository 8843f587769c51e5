"""What pages of machine-written rows have in common."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


class ReadOnly:
    """Rows that machines write: to be looked at, and deleted where that is harmless.

    What may be done to them all the same are actions, each under a permission of its own name.
    """

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
