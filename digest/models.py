"""Where papers and readers meet: the ledger of digests, what came of them, what readers said."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Count, Exists, F, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from papers.models import Paper
from subscribers import mail
from subscribers.models import Subscriber

from .compose import HasItems

SETTLED_AFTER = timedelta(days=2)


class SlotQuerySet(models.QuerySet["Slot"]):
    def settled(self, now: datetime) -> Self:
        """Nothing of them can move any more, and their counts are not kept yet; oldest first.

        Past the zones' spread and the late limit, with no digest open and none in doubt.
        """
        moving = [*Digest.OPEN, Digest.State.UNCERTAIN]
        unsettled = Digest.objects.filter(slot=OuterRef("pk"), state__in=moving)
        old = self.filter(counts__isnull=True, date__lt=(now - SETTLED_AFTER).date())
        return old.filter(~Exists(unsettled)).order_by("date")


class Slot(models.Model):
    """One local date's account: how many readers fell due; how each ended is counted from them."""

    date = models.DateField(unique=True)
    due = models.PositiveIntegerField(
        default=0, help_text=_("Readers whose due moment passed, counted as it was advanced.")
    )
    counts = models.JSONField(
        null=True,
        blank=True,
        help_text=_("Digests per state, kept once nothing of it can move any more."),
    )

    objects = SlotQuerySet.as_manager()

    class Meta:
        ordering = ["-date"]

    def __str__(self) -> str:
        return f"{self.date}"

    def account(self) -> dict[str, int]:
        """Digests per state, as kept or counted. Conserved where the values add up to `due`."""
        return self.recount() if self.counts is None else dict(self.counts)

    def recount(self) -> dict[str, int]:
        rows = self.digests.order_by().values_list("state").annotate(n=Count("*"))
        return dict(rows)

    @property
    def is_conserved(self) -> bool:
        return sum(self.account().values()) == self.due


class IsOpen(models.Func):
    """In the words of the partial indexes on open digests: SQLite knows them by these alone. Told
    that most digests are open, it also prefers them to the index by state.
    """

    template = "%(expressions)s IN ('assembled', 'claimed', 'sending', 'retry')"
    output_field = models.BooleanField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = f"likelihood({self.template}, 0.99)"
        return self.as_sql(compiler, connection, template=template, **context)


class DigestQuerySet(models.QuerySet["Digest"]):
    def open(self) -> Self:
        return self.filter(IsOpen(F("state")))

    def waiting(self) -> Self:
        """Open, and in no worker's hands: `assembled` or `retry`."""
        return self.open().filter(lease_until__isnull=True)

    def shown(self) -> Self:
        """Those whose papers count as shown to the reader."""
        return self.filter(state__in=[*Digest.OPEN, Digest.State.SENT, Digest.State.UNCERTAIN])

    def to_thin(self, now: datetime) -> Self:
        """Past the retention time, and still with every score and reason."""
        before = now - timedelta(days=settings.DIGEST_RETENTION_DAYS)
        return self.filter(assembled_at__lt=before, thinned_at__isnull=True).exclude(
            state__in=Digest.OPEN
        )

    def sendable(self, now: datetime | models.Expression) -> Self:
        return self.waiting().filter(Q(retry_at__isnull=True) | Q(retry_at__lte=now))


class Digest(HasItems, models.Model):
    """One reader's issue for one slot, and its delivery: the ledger row.

    `state` is ours and moves as docs/delivery.md draws it; `outcome` is the provider's best word
    on a digest that left, whatever order its words came in.
    """

    class State(models.TextChoices):
        ASSEMBLED = "assembled", _("assembled")
        CLAIMED = "claimed", _("claimed")
        SENDING = "sending", _("sending")
        RETRY = "retry", _("to be retried")
        SENT = "sent", _("sent")
        UNCERTAIN = "uncertain", _("uncertain")
        FAILED = "failed", _("failed")
        SKIPPED = "skipped", _("skipped")
        SUPPRESSED = "suppressed", _("suppressed")

    class SkipReason(models.TextChoices):
        NOTHING = "nothing", _("nothing worth reading")
        SUPERSEDED = "superseded", _("a newer digest took its place")
        LATE = "late", _("too late for its slot")
        CONSENT = "consent", _("unsubscribed")
        PAUSED = "paused", _("paused")

    class SettledBy(models.TextChoices):
        WORKER = "worker", _("the worker’s late result")
        PROVIDER = "provider", _("the provider’s word")
        OPERATOR = "operator", _("the operator")

    OPEN = (State.ASSEMBLED, State.CLAIMED, State.SENDING, State.RETRY)

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    subscriber = models.ForeignKey(
        Subscriber,
        on_delete=models.SET_NULL,
        null=True,
        related_name="digests",
        db_index=False,  # digest_once_a_slot begins with it
        help_text=_("Empty once the reader is erased: the slot's account outlives them."),
    )
    slot = models.ForeignKey(
        Slot,
        on_delete=models.PROTECT,
        related_name="digests",
        db_index=False,  # digest_by_slot begins with it
    )
    due_at = models.DateTimeField()
    is_first = models.BooleanField(default=False)
    is_weekly = models.BooleanField(default=False)

    # What it says. Frozen when assembled; a withdrawn paper is taken out before it leaves.
    items = models.JSONField(default=list, help_text=_("digest.compose.Item, one per paper."))
    candidates = models.PositiveIntegerField(
        default=0, help_text=_("How many new papers it was chosen from.")
    )
    edition_day = models.DateField(
        null=True, blank=True, help_text=_("The newest edition it was chosen from.")
    )
    closed_seq = models.PositiveIntegerField(
        default=0, help_text=_("Where it moves the reader's cursor.")
    )
    frame = models.JSONField(
        default=dict,
        blank=True,
        help_text=_("What the footer says of the reader's wishes, as they were."),
    )
    mail_hash = models.CharField(
        max_length=64,
        blank=True,
        help_text=_("SHA-256 of subject, text and HTML as handed over; proves a copy made later."),
    )

    # Where it stands.
    state = models.CharField(max_length=10, choices=State, default=State.ASSEMBLED)
    skip_reason = models.CharField(max_length=12, choices=SkipReason, blank=True)
    assembled_at = models.DateTimeField(default=timezone.now)
    claim_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    attempted_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When it was last marked to be handed over.")
    )
    retry_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    doubted_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When it became uncertain whether it left.")
    )
    settled_at = models.DateTimeField(null=True, blank=True, help_text=_("When that doubt ended."))
    settled_by = models.CharField(
        max_length=8, choices=SettledBy, blank=True, help_text=_("Whose word ended it.")
    )
    error = models.TextField(blank=True)

    # What the transport and the provider said.
    transport = models.CharField(
        max_length=40, blank=True, help_text=_("By which it left, or may have left.")
    )
    provider_message_id = models.CharField(
        max_length=255, blank=True, help_text=_("Where the provider gave it another one than ours.")
    )
    outcome = models.CharField(max_length=20, blank=True, help_text=_("anymail's EventType."))
    outcome_at = models.DateTimeField(null=True, blank=True)

    thinned_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When scores and reasons were let go of.")
    )

    objects = DigestQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        permissions = [("settle_digest", _("Can settle digests in doubt"))]
        constraints = [
            models.UniqueConstraint(fields=["subscriber", "slot"], name="digest_once_a_slot"),
            models.UniqueConstraint(
                fields=["subscriber"],
                condition=Q(state__in=["assembled", "claimed", "sending", "retry"]),
                name="digest_one_open_a_reader",
            ),
            models.CheckConstraint(
                condition=Q(state="skipped") & ~Q(skip_reason="")
                | ~Q(state="skipped") & Q(skip_reason=""),
                name="digest_skipped_with_a_reason",
            ),
            models.CheckConstraint(
                condition=Q(
                    state__in=["claimed", "sending"],
                    claim_token__isnull=False,
                    lease_until__isnull=False,
                )
                | ~Q(state__in=["claimed", "sending"]) & Q(lease_until__isnull=True),
                name="digest_claimed_under_a_lease",
            ),
            models.CheckConstraint(
                condition=Q(state="retry", retry_at__isnull=False)
                | ~Q(state="retry") & Q(retry_at__isnull=True),
                name="digest_retry_at_a_time",
            ),
            models.CheckConstraint(
                condition=Q(state="sent", sent_at__isnull=False) | ~Q(state="sent"),
                name="digest_sent_at_a_time",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "-id"], name="digest_by_state"),
            models.Index(fields=["slot", "state", "-id"], name="digest_by_slot"),
            models.Index(
                fields=["due_at", "id"],
                name="digest_open",
                condition=Q(state__in=["assembled", "claimed", "sending", "retry"]),
            ),
            models.Index(
                fields=["provider_message_id"],
                name="digest_by_providers_id",
                condition=~Q(provider_message_id=""),
            ),
            models.Index(
                fields=["assembled_at"],
                name="digest_to_thin",
                condition=Q(thinned_at__isnull=True),
            ),
            models.Index(
                fields=["lease_until"],
                name="digest_leases",
                condition=Q(lease_until__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.slot} {self.state}"

    @property
    def message_id(self) -> str:
        """The provider's where it gave one of its own, else ours, which follows from the UUID."""
        return self.provider_message_id or mail.message_id(self.uuid.hex, "digest")


class DeliveryEvent(models.Model):
    """A provider's normalised word about a digest, in anymail's terms; the raw payload is kept."""

    digest = models.ForeignKey(
        Digest, on_delete=models.CASCADE, null=True, blank=True, related_name="events"
    )
    provider = models.CharField(max_length=40)
    event_id = models.CharField(max_length=255)
    event_type = models.CharField(max_length=20, help_text=_("anymail.signals.EventType"))
    reject_reason = models.CharField(max_length=20, blank=True)
    provider_message_id = models.CharField(max_length=255, blank=True)
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField(default=timezone.now)
    payload = models.JSONField(default=dict)

    class Meta:
        ordering = ["occurred_at", "id"]
        constraints = [models.UniqueConstraint(fields=["provider", "event_id"], name="event_once")]

    def __str__(self) -> str:
        return f"{self.event_type} {self.occurred_at:%Y-%m-%d %H:%M}"


class Feedback(models.Model):
    """What a reader said of a paper. `more` and `less` exclude each other; `saved` stands apart."""

    class Kind(models.TextChoices):
        MORE = "more", _("more like this")
        LESS = "less", _("less like this")
        SAVED = "saved", _("saved")

    subscriber = models.ForeignKey(Subscriber, on_delete=models.CASCADE, related_name="feedback")
    paper = models.ForeignKey(Paper, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=5, choices=Kind)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "feedback"
        ordering = ["-at"]
        constraints = [
            models.UniqueConstraint(
                fields=["subscriber", "paper", "kind"], name="feedback_once_a_kind"
            ),
            models.UniqueConstraint(
                fields=["subscriber", "paper"],
                condition=Q(kind__in=["more", "less"]),
                name="feedback_more_or_less",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.paper_id}"

    @classmethod
    def give(cls, *, subscriber: Subscriber, paper: Paper, kind: str, at: datetime) -> None:
        """Records the word; a `more` replaces a `less` and the other way round."""
        opposite = {cls.Kind.MORE: cls.Kind.LESS, cls.Kind.LESS: cls.Kind.MORE}.get(cls.Kind(kind))
        cls.objects.filter(subscriber=subscriber, paper=paper, kind=opposite).delete()
        cls.objects.update_or_create(
            subscriber=subscriber, paper=paper, kind=kind, defaults={"at": at}
        )


class HoldQuerySet(models.QuerySet["Hold"]):
    def in_force(self) -> Self:
        return self.filter(released_at__isnull=True)


class Hold(models.Model):
    """The operator's word that no digest leaves for now. At most one is in force.

    Readers still fall due and their digests are assembled; what gets too late meanwhile is
    skipped, as ever. Mails that somebody asked for are not held; welcome and silence are.
    """

    began_at = models.DateTimeField(default=timezone.now)
    began_by = models.CharField(max_length=150, help_text=_("Who, or which command."))
    note = models.CharField(max_length=200, blank=True, help_text=_("Why, for your colleagues."))
    released_at = models.DateTimeField(null=True, blank=True)
    released_by = models.CharField(max_length=150, blank=True)
    late_before = models.DateTimeField(
        null=True,
        blank=True,
        help_text=_("Digests that fell due before this moment are skipped as late."),
    )

    objects = HoldQuerySet.as_manager()

    class Meta:
        ordering = ["-began_at", "-id"]
        get_latest_by = "began_at"
        constraints = [
            models.UniqueConstraint(
                fields=["released_by"],
                condition=Q(released_at__isnull=True),
                name="hold_one_in_force",
            ),
            models.CheckConstraint(
                condition=Q(released_at__isnull=True, released_by="")
                | Q(released_at__isnull=False) & ~Q(released_by=""),
                name="hold_released_by_somebody",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.began_at:%Y-%m-%d %H:%M} {self.note}"


class Heartbeat(models.Model):
    """When a part of the installation last did its work: the beat, and the workers of each queue.

    A worker's is written by a task that came all the way through beat, broker and queue.
    """

    name = models.CharField(max_length=40, unique=True, help_text=_("`beat`, `tick`, or a queue."))
    at = models.DateTimeField()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} {self.at:%Y-%m-%d %H:%M:%S}"

    @classmethod
    def note(cls, name: str, now: datetime) -> None:
        cls.objects.update_or_create(name=name, defaults={"at": now})


class Lease(models.Model):
    """Who does which share of a morning, and until when at most.

    A hint that keeps workers out of each other's way: what they write is guarded on its own.
    """

    name = models.CharField(max_length=40, unique=True)
    token = models.UUIDField()
    until = models.DateTimeField()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} {self.until:%Y-%m-%d %H:%M:%S}"


class AlertQuerySet(models.QuerySet["Alert"]):
    def free(self, now: datetime) -> Self:
        """Those that nobody is writing about at the moment."""
        return self.filter(Q(lease_until=None) | Q(lease_until__lte=now))

    def to_tell(self, now: datetime, *, after: timedelta, again_after: timedelta) -> Self:
        """Wrong for long enough, while the last word was that it is well, or is an old one."""
        return self.free(now).filter(
            Q(is_told=False) | Q(told_at__lte=now - again_after),
            ended_at=None,
            began_at__lte=now - after,
        )

    def to_take_back(self, now: datetime, *, after: timedelta) -> Self:
        """Told, and well for long enough."""
        return self.free(now).filter(is_told=True, ended_at__lte=now - after)


class Alert(models.Model):
    """What is, or was, wrong with the installation, and what its operators were told of it."""

    name = models.CharField(max_length=60, unique=True)
    said = models.TextField(help_text=_("What is so, in words."))
    began_at = models.DateTimeField(help_text=_("Since when, of the last time."))
    ended_at = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField(null=True, blank=True, help_text=_("When a mail last said so."))
    is_told = models.BooleanField(
        default=False, help_text=_("A mail said so, and none yet that it is over.")
    )
    lease_until = models.DateTimeField(null=True, blank=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ["-began_at", "-id"]

    def __str__(self) -> str:
        return f"{self.name} {self.began_at:%Y-%m-%d %H:%M}"
