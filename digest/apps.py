from django.apps import AppConfig


class DigestConfig(AppConfig):
    name = "digest"

    def ready(self) -> None:
        from anymail.signals import tracking

        from . import webhooks

        tracking.connect(webhooks.receive, dispatch_uid="paperround.digest")
