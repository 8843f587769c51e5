"""Everything that is stored, to be compared before and after what must change nothing."""

from __future__ import annotations

from typing import Any

from django.apps import apps


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """Table -> its rows. Without sessions: a signed-in operator's is touched by looking."""
    return {
        model._meta.db_table: list(model._default_manager.order_by("pk").values_list())
        for model in apps.get_models()
        if model._meta.app_label in ("papers", "subscribers", "digest")
    }
