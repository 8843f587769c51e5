"""Makes the admin's home the operator's morning page. `django.contrib.admin`, by this config.

A module of its own, not of `digest.admin`: the admin needs its site before it can register
anything there.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class DeskConfig(AdminConfig):
    default_site = "digest.desk.Desk"


class Desk(AdminSite):
    """The stock site; its home says first how the day goes."""

    index_title = _("Today")

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        from . import morning  # models cannot be imported before the apps are ready

        may = request.user.has_perm
        context = {
            "morning": morning.page(timezone.now(), may),
            # The stock list of one's own actions names rows, and readers by their address.
            "shows_actions": may("subscribers.view_subscriber"),
        }
        return super().index(request, context | (extra_context or {}))
