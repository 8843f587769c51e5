from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from . import naming


class PapersConfig(AppConfig):
    name = "papers"
    verbose_name = _("Papers")

    def import_models(self) -> None:
        super().import_models()
        naming.mark(self)
