from django.apps import AppConfig
from django.core.checks import Tags, register
from django.utils.translation import gettext_lazy as _

from papers import naming

from . import checks


class SubscribersConfig(AppConfig):
    name = "subscribers"
    verbose_name = _("Readers")

    def import_models(self) -> None:
        super().import_models()
        naming.mark(self)

    def ready(self) -> None:
        register(checks.mail_settings, Tags.security, deploy=True)
