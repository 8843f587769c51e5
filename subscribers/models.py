"""What is about one person: an address, its consent, its preferences, its interests."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Self

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Exists, Expression, FilteredRelation, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from papers.models import Paper

from . import schedule


def normalise_address(address: str) -> str:
    """The form under which two spellings of an address are the same reader.

    Lower case throughout: RFC 5321 lets the local part be case-sensitive, no mailbox provider
    makes it so, and a reader who types a capital must not become two readers.
    """
    return address.strip().lower()


def address_hash(address: str) -> str:
    """HMAC-SHA256 of the normalised address under SUPPRESSION_KEY: 64 hex digits."""
    key = settings.SUPPRESSION_KEY.encode()
    return hmac.new(key, normalise_address(address).encode(), hashlib.sha256).hexdigest()


class SuppressionQuerySet(models.QuerySet["Suppression"]):
    def total(self) -> Self:
        """Those that allow no mail at all."""
        return self.exclude(reason__in=Suppression.LIFTED_BY_CONSENT)


class Suppression(models.Model):
    """An address not to be mailed. Outlives the Subscriber, and holds no address."""

    class Reason(models.TextChoices):
        BOUNCE = "bounce", _("hard bounce")
        COMPLAINT = "complaint", _("spam complaint")
        OPERATOR = "operator", _("by the operator")
        UNSUBSCRIBE = "unsubscribe", _("unsubscribed")
        ERASURE = "erasure", _("erased")

    # A reader's own goodbye is undone by their own confirmed wish; nothing else is.
    LIFTED_BY_CONSENT = (Reason.UNSUBSCRIBE, Reason.ERASURE)

    address_hash = models.CharField(max_length=64, unique=True)
    reason = models.CharField(max_length=12, choices=Reason)
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = SuppressionQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["-created_at", "-id"], name="suppression_newest")]

    def __str__(self) -> str:
        return f"{self.address_hash[:10]}… {self.reason}"


class TransportState(models.Model):
    """What all processes know together of one transport: how much it was given, and whether it
    is in trouble. Written under a row lock, by the database's clock.
    """

    name = models.CharField(max_length=40, unique=True)

    # Its limits: the moment from which the next mail may leave, and what the day has had.
    free_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When the next mail may leave by it.")
    )
    day = models.DateField(null=True, blank=True, help_text=_("The UTC day that is counted."))
    used = models.PositiveIntegerField(default=0, help_text=_("Mails given to it on that day."))

    # Its circuit breaker.
    failures = models.PositiveSmallIntegerField(
        default=0, help_text=_("Windows in a row of which nothing got through.")
    )
    open_until = models.DateTimeField(
        null=True, blank=True, help_text=_("Its circuit is open: nothing is given to it before.")
    )
    error = models.TextField(blank=True, help_text=_("What it said last, when it was in trouble."))
    error_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("transport")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class SubscriberQuerySet(models.QuerySet["Subscriber"]):
    def with_address(self, address: str) -> Self:
        return self.filter(address_hash=address_hash(address))

    def active(self) -> Self:
        return self.filter(state=Subscriber.State.ACTIVE)

    def mailable(self, local_date: date | Expression) -> Self:
        """Consent given, not paused on that local date, not suppressed: who may get a digest."""
        suppressed = Suppression.objects.filter(address_hash=OuterRef("address_hash"))
        return self.active().filter(
            Q(paused_until__isnull=True) | Q(paused_until__lte=local_date), ~Exists(suppressed)
        )

    def due(self, now: datetime) -> Self:
        return self.active().filter(next_due_at__lte=now)


class Subscriber(models.Model):
    """A reader: an address, what they consented to, and when they want their mail."""

    class State(models.TextChoices):
        PENDING = "pending", _("pending")
        ACTIVE = "active", _("active")
        UNSUBSCRIBED = "unsubscribed", _("unsubscribed")

    class Cadence(models.TextChoices):
        DAILY = schedule.Cadence.DAILY.value, _("every day")
        WEEKDAYS = schedule.Cadence.WEEKDAYS.value, _("Monday to Friday")
        CHOSEN = schedule.Cadence.CHOSEN.value, _("on chosen days")
        WEEKLY = schedule.Cadence.WEEKLY.value, _("once a week")

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    email = models.EmailField(db_index=True)
    address_hash = models.CharField(max_length=64, unique=True, editable=False)
    state = models.CharField(max_length=12, choices=State, default=State.PENDING)
    created_at = models.DateTimeField(default=timezone.now)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    unsubscribed_at = models.DateTimeField(null=True, blank=True)

    cadence = models.CharField(max_length=8, choices=Cadence, default=Cadence.WEEKDAYS)
    days = models.JSONField(
        default=list, blank=True, help_text=_("Monday is 0. Read for chosen days and weekly.")
    )
    hour = models.PositiveSmallIntegerField(default=7, validators=[MaxValueValidator(23)])
    time_zone = models.CharField(max_length=64, default="UTC")
    language = models.CharField(max_length=10, default="en")
    papers_per_digest = models.PositiveSmallIntegerField(
        default=5, validators=[MinValueValidator(1), MaxValueValidator(10)]
    )
    likes_popular = models.BooleanField(
        _("likes what is popular"),
        default=True,
        help_text=_("What is popular with everybody counts a little, and has a place of its own."),
    )
    paused_until = models.DateField(
        null=True, blank=True, help_text=_("The local date on which mail resumes.")
    )

    next_due_at = models.DateTimeField(null=True, blank=True)
    last_slot = models.DateField(null=True, blank=True)
    cursor = models.PositiveIntegerField(
        default=0, help_text=_("The highest closed_seq that a digest has dealt with.")
    )

    # Service mails have the digest's care in small: a due moment and a sent moment on the row.
    confirmation_due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    confirmation_sent_at = models.DateTimeField(null=True, blank=True)
    confirmations_unanswered = models.PositiveSmallIntegerField(default=0)
    link_due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    link_sent_at = models.DateTimeField(null=True, blank=True)
    new_email = models.EmailField(blank=True, help_text=_("Asked for, not yet confirmed."))
    address_change_due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    address_change_sent_at = models.DateTimeField(null=True, blank=True)
    old_email = models.EmailField(
        blank=True, help_text=_("Where mail went before the address changed; kept for some days.")
    )
    moved_at = models.DateTimeField(null=True, blank=True)
    moved_due_at = models.DateTimeField(null=True, blank=True)
    moved_sent_at = models.DateTimeField(null=True, blank=True)
    welcome_due_at = models.DateTimeField(null=True, blank=True)
    welcome_sent_at = models.DateTimeField(null=True, blank=True)
    goodbye_due_at = models.DateTimeField(null=True, blank=True)
    goodbye_sent_at = models.DateTimeField(null=True, blank=True)
    silent_slots = models.PositiveSmallIntegerField(
        default=0, help_text=_("Mornings in a row with nothing worth sending.")
    )
    silence_due_at = models.DateTimeField(null=True, blank=True)
    silence_sent_at = models.DateTimeField(null=True, blank=True)

    objects = SubscriberQuerySet.as_manager()

    class Meta:
        verbose_name = _("reader")
        verbose_name_plural = _("readers")
        ordering = ["-created_at", "-id"]
        indexes = [
            # The operator's lists, a page at a time, newest first.
            models.Index(fields=["-created_at", "-id"], name="subscriber_newest"),
            models.Index(fields=["state", "-created_at", "-id"], name="subscriber_by_state"),
            models.Index(
                fields=["next_due_at", "id"],
                name="subscriber_due",
                condition=Q(state="active", next_due_at__isnull=False),
            ),
            # Rare mails: an index of the few rows that wait, none of the million that do not.
            *(
                models.Index(
                    fields=[f"{kind}_due_at"],
                    name=f"subscriber_{kind}_due",
                    condition=Q(**{f"{kind}_due_at__isnull": False}),
                )
                for kind in ("moved", "welcome", "goodbye", "silence")
            ),
            models.Index(
                fields=["moved_at"], name="subscriber_old_address", condition=~Q(old_email="")
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state="active", confirmed_at__isnull=False, next_due_at__isnull=False)
                | Q(next_due_at__isnull=True) & ~Q(state="active"),
                name="subscriber_due_only_while_active",
            ),
            models.CheckConstraint(condition=Q(hour__lte=23), name="subscriber_hour"),
            models.CheckConstraint(
                condition=Q(papers_per_digest__gte=1, papers_per_digest__lte=10),
                name="subscriber_papers_per_digest",
            ),
        ]

    def __str__(self) -> str:
        return self.email

    def set_address(self, address: str) -> None:
        self.email = address.strip()
        self.address_hash = address_hash(address)

    @property
    def preferences(self) -> schedule.Preferences:
        return schedule.Preferences(
            cadence=schedule.Cadence(self.cadence),
            days=frozenset(self.days),
            hour=self.hour,
            time_zone=self.time_zone,
        )

    @property
    def is_weekly(self) -> bool:
        return self.cadence == self.Cadence.WEEKLY

    def is_paused(self, today: date) -> bool:
        return self.paused_until is not None and self.paused_until > today

    def due_after(self, moment: datetime, *, last_slot: date | None = None) -> datetime:
        """The next due moment after `moment` and after the pause, if there is one (UTC).

        `last_slot`: the newest slot that is taken; the row's own unless given.
        """
        after = moment
        if self.paused_until is not None:
            # One microsecond earlier, so that a pause ending exactly at the hour includes it.
            resumes = schedule.pause_end(self.paused_until, self.time_zone)
            after = max(moment, resumes - timedelta(microseconds=1))
        taken = self.last_slot if last_slot is None else last_slot
        return schedule.next_due(self.preferences, after=after, last_slot=taken)


class ConsentEvent(models.Model):
    """What was agreed to or withdrawn, when, how, and under which words. Never edited."""

    class Kind(models.TextChoices):
        REQUESTED = "requested", _("asked to subscribe")
        CONFIRMED = "confirmed", _("confirmed")
        UNSUBSCRIBED = "unsubscribed", _("unsubscribed")
        RESUBSCRIBED = "resubscribed", _("undid the unsubscribing")
        ADDRESS_REQUESTED = "address_requested", _("asked to change the address")
        ADDRESS_CHANGED = "address_changed", _("changed the address")
        SUPPRESSED = "suppressed", _("suppressed")

    class Via(models.TextChoices):
        PAGE = "page", _("page")
        ONE_CLICK = "one_click", _("one-click header")
        ADMIN = "admin", _("admin")
        PROVIDER = "provider", _("mail provider")

    subscriber = models.ForeignKey(
        Subscriber, on_delete=models.CASCADE, related_name="consent_events"
    )
    kind = models.CharField(max_length=20, choices=Kind)
    via = models.CharField(max_length=10, choices=Via)
    at = models.DateTimeField(default=timezone.now)
    text_version = models.CharField(
        max_length=20, blank=True, help_text=_("Which wording of the consent was shown.")
    )

    class Meta:
        ordering = ["at", "id"]
        indexes = [
            models.Index(fields=["at", "id"], name="consent_by_time"),
            models.Index(fields=["kind", "at"], name="consent_by_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.at:%Y-%m-%d %H:%M}"


class TopicQuerySet(models.QuerySet["Topic"]):
    def due_before(self, moment: datetime) -> Self:
        """Of readers whose next digest is due by then."""
        return self.filter(subscriber__next_due_at__lte=moment)

    def descriptions(self) -> Iterator[str]:
        """What a model is asked of them, in no order: a topic's lines as one text, or its name; and
        each paper of it that is known by its title alone.
        """
        kinds = (Interest.Kind.TEXT, Interest.Kind.TITLE)
        said = FilteredRelation("interests", condition=Q(interests__kind__in=kinds))
        rows = self.annotate(said=said).order_by("id", "said__id")
        columns = rows.values_list("id", "name", "said__kind", "said__value")
        for (_id, name), lines in groupby(columns.iterator(chunk_size=2000), itemgetter(0, 1)):
            values = [(kind, value) for _id, _name, kind, value in lines if value]
            texts = [value for kind, value in values if kind == Interest.Kind.TEXT]
            yield "\n".join(texts) or name
            yield from (value for kind, value in values if kind == Interest.Kind.TITLE)


class Topic(models.Model):
    """A subject that a reader names. What it is made of are its interests."""

    subscriber = models.ForeignKey(Subscriber, on_delete=models.CASCADE, related_name="topics")
    name = models.CharField(max_length=80)
    created_at = models.DateTimeField(default=timezone.now)

    objects = TopicQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["subscriber", "name"], name="topic_name_once_a_reader")
        ]

    def __str__(self) -> str:
        return self.name


class InterestQuerySet(models.QuerySet["Interest"]):
    def wanted(self) -> Self:
        return self.filter(is_muted=False)

    def muted(self) -> Self:
        return self.filter(is_muted=True)


class Interest(models.Model):
    """One thing a topic is made of, or, muted, one thing a reader never wants to see.

    A wanted interest belongs to a topic; a muted one holds for the whole reader.
    """

    class Kind(models.TextChoices):
        TEXT = "text", _("description")
        KEYWORD = "keyword", _("keyword")
        AUTHOR = "author", _("author")
        ORGANIZATION = "organization", _("organization")
        CATEGORY = "category", _("arXiv category")
        PAPER = "paper", _("seed paper")
        TITLE = "title", _("paper known by its title")

    subscriber = models.ForeignKey(Subscriber, on_delete=models.CASCADE, related_name="interests")
    topic = models.ForeignKey(
        Topic, on_delete=models.CASCADE, null=True, blank=True, related_name="interests"
    )
    kind = models.CharField(max_length=12, choices=Kind)
    value = models.CharField(
        max_length=500, help_text=_("The words, the name, the category, or the arXiv id.")
    )
    paper = models.ForeignKey(
        Paper,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text=_("The seed paper once it is stored; until then only its id is known."),
    )
    is_muted = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    objects = InterestQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            # Seed papers that are not stored yet: few of many, and looked at every minute.
            models.Index(
                fields=["value"],
                name="interest_seed_waiting",
                condition=Q(kind="paper", paper__isnull=True),
            )
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(is_muted=True, topic__isnull=True)
                | Q(is_muted=False, topic__isnull=False),
                name="interest_wanted_in_a_topic_or_muted",
            ),
            models.UniqueConstraint(
                fields=["topic", "kind", "value"],
                condition=Q(topic__isnull=False),
                name="interest_once_a_topic",
            ),
            models.UniqueConstraint(
                fields=["subscriber", "kind", "value"],
                condition=Q(is_muted=True),
                name="interest_muted_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{'not ' if self.is_muted else ''}{self.get_kind_display()}: {self.value}"
