"""What an installation is called and how it looks: in the frame of every page, in every mail."""

from __future__ import annotations

from typing import Any

from django.conf import settings

SHOWN = (
    "SITE_NAME", "SITE_URL", "LOGO_TEXT", "BRAND_COLOR", "BRAND_COLOR_DARK", "FOOTER_TEXT",
    "POSTAL_ADDRESS",
)  # fmt: skip


def brand() -> dict[str, Any]:
    """For templates, under the settings' own names."""
    return {name: getattr(settings, name) for name in SHOWN}
