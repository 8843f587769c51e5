from django.apps import AppConfig
from django.core.checks import Tags, register

from . import checks


class SubscribersConfig(AppConfig):
    name = "subscribers"

    def ready(self) -> None:
        register(checks.mail_settings, Tags.security, deploy=True)
