"""Who on the staff may do what: three groups, kept as this table says.

Every `migrate` puts the three back to it. Other groups, and what is given to a person apart from
their groups, are the installation's own and stay as they are. Staff accounts are no group's
business: they are made by a superuser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import apps as installed
from django.apps.registry import Apps
from django.db import router

APPS = ("papers", "subscribers", "digest")

# Nothing of this shows a reader's address, nor leads to one.
EDITOR = {
    "papers.change_edition", "papers.change_entry", "papers.change_source", "digest.view_slot",
}  # fmt: skip

Test = Callable[[str], bool]


def _operator(permission: str) -> bool:
    return True


def _editor(permission: str) -> bool:
    return permission in EDITOR or permission.startswith("papers.view_")


def _viewer(permission: str) -> bool:
    return permission.partition(".")[2].startswith("view_")


# Group -> which of the permissions of APPS, written as `app.codename`, are theirs.
ROLES: dict[str, Test] = {"Operator": _operator, "Editor": _editor, "Viewer": _viewer}


def synchronise(sender: Any, *, using: str, apps: Apps = installed, **kwargs: Any) -> None:
    """Receiver of post_migrate, which `flush` sends too, naming no apps.

    Does nothing while the tables of groups are not there yet.
    """
    try:
        group_model = apps.get_model("auth", "Group")
        permission_model = apps.get_model("auth", "Permission")
    except LookupError:
        return
    if not router.allow_migrate_model(using, group_model):
        return
    rows = permission_model._default_manager.using(using).filter(content_type__app_label__in=APPS)
    known = list(rows.select_related("content_type"))
    for name, may in ROLES.items():
        group, _ = group_model._default_manager.using(using).get_or_create(name=name)
        group.permissions.set([each for each in known if may(_written(each))])


def _written(permission: Any) -> str:
    return f"{permission.content_type.app_label}.{permission.codename}"
