"""Addresses of this package. `token` is a signed link's key (subscribers.tokens)."""

from django.conf import settings
from django.urls import URLResolver, include, path, register_converter
from django.urls.converters import StringConverter

from . import onboarding, views
from .models import Feedback


class VerbConverter(StringConverter):
    regex = "|".join(Feedback.Kind.values)


register_converter(VerbConverter, "verb")


def provider_reports() -> list[URLResolver]:
    """Where providers post bounces and complaints. Nowhere without a secret: anybody could report
    one, and so silence whom they like.
    """
    secret = getattr(settings, "ANYMAIL", {}).get("WEBHOOK_SECRET")
    return [path("webhooks/", include("anymail.urls"))] if secret else []


app_name = "digest"
urlpatterns = [
    path("welcome/<str:token>/", onboarding.start, name="onboarding"),
    path("welcome/<str:token>/subjects/", onboarding.subjects, name="subjects"),
    path("welcome/<str:token>/preview/", onboarding.preview, name="preview"),
    path("welcome/<str:token>/send/", views.send_first, name="send_first"),
    path("read/<str:token>/", views.read, name="read"),
    path("read/<str:token>/<verb:verb>/<int:paper_id>/", views.feedback, name="feedback"),
    path("mail-gallery/", views.mail_gallery, name="mail_gallery"),
    path("mail-gallery/<slug:name>/", views.mail_exhibit, name="mail_exhibit"),
    path("mail-gallery/<slug:name>/html/", views.mail_exhibit_html, name="mail_exhibit_html"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics, name="metrics"),
    *provider_reports(),
]
