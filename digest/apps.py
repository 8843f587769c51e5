from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from papers import naming


class DigestConfig(AppConfig):
    name = "digest"
    verbose_name = _("Digests")

    def import_models(self) -> None:
        super().import_models()
        naming.mark(self)

    def ready(self) -> None:
        from anymail.signals import tracking

        from . import roles, webhooks

        tracking.connect(webhooks.receive, dispatch_uid="paperround.digest")
        # After this app's permissions are made, which auth's own receiver does before.
        post_migrate.connect(roles.synchronise, sender=self, dispatch_uid="paperround.roles")
