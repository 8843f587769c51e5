"""The other programs, each doing the job in its best documented way.

The job: every reader's own mail, HTML and text, from finished picks to the server's 250, with
whatever books the program keeps. What is the same for all turns is prepared before the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.peers.settings import FOLDER

Mail = dict[str, Any]
QUEUED_TOGETHER = 500
PAGE = Path(__file__).with_name("templates") / "page.html"


class Contender(Protocol):
    def prepare(self, mails: Sequence[Mail]) -> None:
        """Once, before any clock."""

    def set_out(self) -> None:
        """Before each turn's clock."""

    def send(self) -> None:
        """One turn: every mail once."""


class Plain:
    """Django alone: render, inline the CSS, one connection for all. No books."""

    def prepare(self, mails: Sequence[Mail]) -> None:
        import css_inline
        from django.template.loader import get_template

        self._mails = mails
        self._html, self._text = get_template("page.html"), get_template("page.txt")
        self._inliner = css_inline.CSSInliner(keep_style_tags=False, load_remote_stylesheets=False)

    def set_out(self) -> None:
        pass

    def send(self) -> None:
        from django.core.mail import get_connection

        with get_connection() as connection:
            for mail in self._mails:
                connection.send_messages([self._message(mail)])

    def _message(self, mail: Mail) -> Any:
        html = self._inliner.inline(self._html.render({"mail": mail}))
        return message(mail, self._text.render({"mail": mail}), html)


class MassMail:
    """As django.core.mail.send_mass_mail, with HTML: the CSS inlined once into the template, all
    mails made, then handed to one connection together. No books.
    """

    def prepare(self, mails: Sequence[Mail]) -> None:
        from django.template.loader import get_template

        inline_once()
        self._mails = mails
        self._html, self._text = get_template("inlined.html"), get_template("page.txt")

    def set_out(self) -> None:
        pass

    def send(self) -> None:
        from django.core.mail import get_connection

        made = [
            message(mail, self._text.render({"mail": mail}), self._html.render({"mail": mail}))
            for mail in self._mails
        ]
        get_connection().send_messages(made)


class PostOffice:
    """django-post-office: queued by `send_many`, sent by `send_queued_mail`, in one process.

    The template in its table includes files, so that Django compiles them once: more than its
    documentation asks for.
    """

    def html(self) -> str:
        return '{% include "inlined.html" %}'

    def text(self) -> str:
        return '{% include "page.txt" %}'

    def prepare(self, mails: Sequence[Mail]) -> None:
        from post_office.models import EmailTemplate  # type: ignore[import-not-found]

        inline_once()
        self._mails = mails
        self._template = EmailTemplate.objects.create(
            name="digest",
            # A header is plain text: a title's `&` is no `&amp;` there. It goes nowhere else.
            subject="{% autoescape off %}{{ mail.subject }}{% endautoescape %}",
            content=self.text(),
            html_content=self.html(),
        )

    def set_out(self) -> None:
        pass

    def send(self) -> None:
        from django.core.management import call_command
        from post_office import mail as post_office  # type: ignore[import-not-found]

        for start in range(0, len(self._mails), QUEUED_TOGETHER):
            post_office.send_many([
                {
                    "recipients": mail["email"],
                    "template": self._template,
                    "context": {"mail": mail},
                    "headers": headers(mail),
                }
                for mail in self._mails[start : start + QUEUED_TOGETHER]
            ])  # fmt: skip
        call_command("send_queued_mail", lockfile=str(FOLDER / "post_office"))


class PostOfficeTable(PostOffice):
    """The same with the whole template in its table, as its documentation has it: compiled for
    each mail.
    """

    def html(self) -> str:
        return (FOLDER / "inlined.html").read_text()

    def text(self) -> str:
        return PAGE.with_suffix(".txt").read_text()


class Newsletter:
    """django-newsletter: one message, submitted to all its subscriptions.

    Its articles are the same for everybody; only templates see the reader, so the picks come in
    by a template tag of ours, three times a mail. It cannot give a mail headers of the reader's
    own (its List-Unsubscribe is one page for all), and keeps no account of the single mail.
    """

    def prepare(self, mails: Sequence[Mail]) -> None:
        from django.contrib.sites.models import Site
        from newsletter.models import (  # type: ignore[import-not-found]
            Message,
            Newsletter,
            Subscription,
        )

        inline_once()
        Site.objects.update(domain="papers.example.org")
        newsletter = Newsletter.objects.create(
            title="Paperround",
            slug="digest",
            email="digest@papers.example.org",
            sender="Paperround",
        )
        Subscription.objects.bulk_create(
            Subscription(newsletter=newsletter, email_field=mail["email"], subscribed=True)
            for mail in mails
        )
        self._message = Message.objects.create(newsletter=newsletter, title="Today", slug="today")

    def set_out(self) -> None:
        """What an editor does by a button: the message is made ready for all its readers."""
        from newsletter.models import Submission

        submission = Submission.from_message(self._message)
        submission.prepared = True
        submission.save()

    def send(self) -> None:
        from newsletter.models import Submission

        Submission.submit_queue()


CONTENDERS: dict[str, type[Contender]] = {
    "django-post-office": PostOffice,
    "django-post-office, one template": PostOfficeTable,
    "django-newsletter": Newsletter,
    "plain Django": Plain,
    "send_mass_mail": MassMail,
}


def message(mail: Mail, text: str, html: str) -> Any:
    from django.core.mail import EmailMultiAlternatives

    made = EmailMultiAlternatives(mail["subject"], text, to=[mail["email"]], headers=headers(mail))
    made.attach_alternative(html, "text/html")
    return made


def headers(mail: Mail) -> dict[str, str]:
    return {
        "List-Unsubscribe": f"<{mail['unsubscribe_url']}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def inline_once() -> None:
    """The template with its CSS in its elements, as one would write it for these programs."""
    import css_inline
    from django.template.loader import render_to_string

    css = render_to_string("emails/emails.css")
    source = PAGE.read_text().replace('{% include "emails/emails.css" %}', css)
    inliner = css_inline.CSSInliner(keep_style_tags=False, load_remote_stylesheets=False)
    (FOLDER / "inlined.html").write_text(inliner.inline(source))
