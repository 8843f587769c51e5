"""The names of models and of their fields, as the admin shows them, in its reader's language.

What a model or a field is called in the code is its name in English too, so it stands nowhere a
second time: these names are taken from the models, by `marked` for the admin and by
`config.messages` for the catalogues. A name that a model spells out (`verbose_name`) goes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import AppConfig
from django.db.models import Model
from django.utils import translation
from django.utils.translation import gettext_lazy


def mark(app: AppConfig) -> None:
    """Has them translated when shown. Migrations keep the names as they are spelt out."""
    with translation.override(None, deactivate=True):  # there are no catalogues yet
        for model in app.models.values():  # get_models() waits for all apps
            for named, name in _named(model):
                setattr(named, name, gettext_lazy(str(getattr(named, name))))


def names(model: type[Model]) -> Iterator[str]:
    """In English."""
    with translation.override(None):
        yield from (str(getattr(named, name)) for named, name in _named(model))


def _named(model: type[Model]) -> Iterator[tuple[Any, str]]:
    yield model._meta, "verbose_name"
    yield model._meta, "verbose_name_plural"
    for field in model._meta.local_fields:
        yield field, "verbose_name"
