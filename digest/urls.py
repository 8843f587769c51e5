"""Addresses of this package. `token` is a signed link's key (subscribers.tokens)."""

from django.urls import include, path, register_converter
from django.urls.converters import StringConverter

from . import views
from .models import Feedback


class VerbConverter(StringConverter):
    regex = "|".join(Feedback.Kind.values)


register_converter(VerbConverter, "verb")

app_name = "digest"
urlpatterns = [
    path("welcome/<str:token>/", views.onboarding, name="onboarding"),
    path("welcome/<str:token>/send/", views.send_first, name="send_first"),
    path("read/<str:token>/", views.read, name="read"),
    path("read/<str:token>/<verb:verb>/<int:paper_id>/", views.feedback, name="feedback"),
    path("healthz", views.healthz, name="healthz"),
    path("webhooks/", include("anymail.urls")),
]
