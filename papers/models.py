"""What is the same for every reader: papers, where they were listed, and on which day."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Self

from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class SourceQuerySet(models.QuerySet["Source"]):
    def due(self, now: datetime) -> Self:
        return self.filter(is_enabled=True, next_fetch_at__lte=now)


class Source(models.Model):
    """A place where papers are listed. Its parser is found by `slug` in `papers.sources`."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    is_enabled = models.BooleanField(default=True)
    next_fetch_at = models.DateTimeField(
        default=timezone.now,
        db_index=True,
        help_text=_("The next attempt; set it to now to fetch."),
    )

    objects = SourceQuerySet.as_manager()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name


class FetchQuerySet(models.QuerySet["Fetch"]):
    def succeeded(self) -> Self:
        return self.filter(status__in=[Fetch.Status.OK, Fetch.Status.EMPTY, Fetch.Status.UNCHANGED])


class Fetch(models.Model):
    """One attempt to read a source: a UTC day's list, or what else `kind` says.

    `reader` is who of the source's readers was believed, by its name in `papers.sources`; `note`
    says what was odd about an attempt that succeeded all the same.
    """

    class Kind(models.TextChoices):
        DAY = "day", _("a day’s list")
        WEEK = "week", _("a week’s list")
        MONTH = "month", _("a month’s list")
        TRENDING = "trending", _("what trends")
        LOOK_UP = "look_up", _("papers by their ids")
        HARVEST = "harvest", _("a long range")
        ENRICHMENT = "enrichment", _("numbers about stored papers")

    class Status(models.TextChoices):
        RUNNING = "running", _("running")
        OK = "ok", _("ok")
        EMPTY = "empty", _("empty list")
        UNCHANGED = "unchanged", _("unchanged")
        FAILED = "failed", _("failed")

    class Origin(models.TextChoices):
        LIVE = "live", _("live")
        FILE = "file", _("from a file")
        REPLAY = "replay", _("replayed")

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="fetches")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.DAY)
    day = models.DateField(
        help_text=_(
            "The UTC day, or the first one of a longer period; else the day of the attempt."
        )
    )
    origin = models.CharField(max_length=8, choices=Origin, default=Origin.LIVE)
    status = models.CharField(max_length=9, choices=Status, default=Status.RUNNING)
    reader = models.CharField(max_length=40, blank=True)
    started_at = models.DateTimeField(default=timezone.now, db_index=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    http_status = models.PositiveSmallIntegerField(_("HTTP status"), null=True, blank=True)
    pages = models.PositiveSmallIntegerField(default=0)
    papers_seen = models.PositiveIntegerField(default=0)
    papers_new = models.PositiveIntegerField(default=0)
    papers_updated = models.PositiveIntegerField(default=0)
    papers_skipped = models.PositiveIntegerField(
        default=0, help_text=_("Items of the answer that could not be read; named in the error.")
    )
    unknown_fields = models.JSONField(
        default=dict,
        blank=True,
        help_text=_("Fields that no reader knows, and how often they came."),
    )
    vanished_fields = models.JSONField(
        default=list, blank=True, help_text=_("Fields that were expected, and that no item had.")
    )
    etag = models.CharField(max_length=200, blank=True)
    last_modified = models.CharField(max_length=64, blank=True)
    error = models.TextField(blank=True)
    note = models.TextField(blank=True)

    objects = FetchQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "fetches"
        ordering = ["-started_at"]
        indexes = [models.Index(fields=["source", "day", "-started_at"])]

    def __str__(self) -> str:
        return f"{self.source_id} {self.day} {self.status}"

    def end(self, error: Exception | None, *, at: datetime) -> None:
        """How it went, by what it saw and, if it was broken off, by why; saved."""
        if error is not None:
            self.error = "\n".join([str(error), *self.error.splitlines()])
            self.status = Fetch.Status.FAILED
        else:
            self.status = Fetch.Status.OK if self.papers_seen else Fetch.Status.EMPTY
        self.finished_at = at
        self.save()


class Answer(models.Model):
    """What a source said, byte for byte, kept for ANSWER_RETENTION_DAYS so that rows can be rebuilt
    from it when a reader has learnt to read more.
    """

    fetch = models.ForeignKey(Fetch, on_delete=models.CASCADE, related_name="answers")
    number = models.PositiveIntegerField(help_text=_("Its place in the fetch, from 0."))
    reader = models.CharField(max_length=40, help_text=_("Whose question it answers."))
    url = models.CharField(
        max_length=2000, help_text=_("What was asked, without the site and its password.")
    )
    received_at = models.DateTimeField(db_index=True)
    size = models.PositiveIntegerField(help_text=_("Bytes before they were compressed."))
    body = models.BinaryField(help_text=_("zlib (RFC 1950)"))

    class Meta:
        ordering = ["fetch", "number"]
        constraints = [
            models.UniqueConstraint(fields=["fetch", "number"], name="answer_once_a_place")
        ]

    def __str__(self) -> str:
        return f"{self.fetch_id}/{self.number}"


class Pace(models.Model):
    """How often a host may be asked, by all processes and machines of this installation together.

    Only `papers.pace` reads and writes it, by the database's clock.
    """

    host = models.CharField(
        max_length=255,
        unique=True,
        help_text=_("A host, or “*.” and a site: then all of its hosts together."),
    )
    next_at = models.DateTimeField(
        help_text=_("No request begins before; of a host that rests, when it asked for that.")
    )
    busy_until = models.DateTimeField(
        null=True, blank=True, help_text=_("One request at a time: the lease of the one under way.")
    )
    cool_until = models.DateTimeField(
        null=True, blank=True, help_text=_("The host asked for rest (429).")
    )

    def __str__(self) -> str:
        return self.host


class WantedPaper(models.Model):
    """A paper that somebody named and that is not stored yet; looked up in batches."""

    arxiv_id = models.CharField(max_length=32, unique=True)
    asked_at = models.DateTimeField(default=timezone.now)
    not_before = models.DateTimeField(default=timezone.now, db_index=True)
    tries = models.PositiveSmallIntegerField(default=0)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["not_before", "id"]

    def __str__(self) -> str:
        return self.arxiv_id


class WantedCategory(models.Model):
    """An arXiv category that readers follow, so that it is read beside ARXIV_CATEGORIES."""

    name = models.CharField(max_length=40, unique=True)
    asked_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "wanted categories"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Harvest(models.Model):
    """A long range that is read from end to end over many requests, and how far that has come.

    token: what the source wants to be asked with next; empty before the first answer.
    """

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="harvests")
    name = models.CharField(
        max_length=60, help_text=_("Which part of the source, e.g. an OAI set.")
    )
    since = models.DateField()
    until = models.DateField()
    token = models.TextField(blank=True)
    papers = models.PositiveIntegerField(default=0, help_text=_("Read so far."))
    papers_expected = models.PositiveIntegerField(null=True, blank=True)
    began_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-began_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["source", "name", "since", "until"], name="harvest_once_a_range"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.since}..{self.until}"


class Vocabulary(models.Model):
    """A fitted document-frequency table. The newest row of an `encoder` is the one in use."""

    encoder = models.CharField(max_length=64)
    documents = models.PositiveIntegerField(
        help_text=_("How many texts the table was counted over.")
    )
    table = models.BinaryField(help_text=_("papers.vectors.DocumentFrequencies.to_bytes()"))
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "vocabularies"
        get_latest_by = "id"

    def __str__(self) -> str:
        return f"{self.encoder} over {self.documents} texts"


class TrendingFit(models.Model):
    """How much each word of a paper says about the votes it will gather, fitted on settled papers.

    The newest row of an `encoder` is the one in use.
    """

    encoder = models.CharField(max_length=64)
    papers = models.PositiveIntegerField(help_text=_("How many papers it was fitted on."))
    table = models.BinaryField(help_text=_("papers.forecast.TextPrior.to_bytes()"))
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("fit of trending words")
        verbose_name_plural = _("fits of trending words")
        get_latest_by = "id"

    def __str__(self) -> str:
        return f"{self.encoder} on {self.papers} papers"


class Phrase(models.Model):
    """What a model makes of a few words, a reader's topic or a search: made once for all who say
    the same. It belongs to nobody, and holds no words.
    """

    model = models.CharField(max_length=64)
    text_hash = models.CharField(max_length=32, help_text=_("BLAKE2b, 16 bytes, of the words."))
    meaning = models.BinaryField(help_text=_("papers.vectors.packed"))
    used_on = models.DateField(db_index=True, help_text=_("What nobody asks for is dropped."))

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "text_hash"], name="phrase_once_a_model")
        ]

    def __str__(self) -> str:
        return f"{self.text_hash[:8]}… {self.model}"


class PaperQuerySet(models.QuerySet["Paper"]):
    def withdrawn(self) -> Self:
        return self.filter(withdrawn_at__isnull=False)

    def without_vector(self, encoder: str) -> Self:
        return self.exclude(encoder=encoder)

    def without_meaning(self, model: str) -> Self:
        # As two ranges: an index finds what is in them, and that mostly there is nothing.
        return self.filter(Q(meaning_by__lt=model) | Q(meaning_by__gt=model))


class Paper(models.Model):
    """The stored work: one row per work, merged over sources and versions."""

    arxiv_id = models.CharField(
        _("arXiv id"), max_length=32, unique=True, help_text=_("Without its version.")
    )
    title = models.TextField()
    abstract = models.TextField(blank=True)
    tldr = models.TextField(
        _("TL;DR"), blank=True, help_text=_("The source's own one-sentence summary.")
    )
    authors = models.JSONField(default=list, help_text=_("Names in the order of the paper."))
    organization = models.CharField(max_length=200, blank=True)
    categories = models.JSONField(default=list, blank=True, help_text=_("arXiv categories."))
    keywords = models.JSONField(default=list, blank=True)
    published_at = models.DateTimeField(help_text=_("When its first version appeared (UTC)."))
    project_url = models.URLField(max_length=500, blank=True)
    code_url = models.URLField(max_length=500, blank=True)
    upvotes = models.PositiveIntegerField(default=0)
    comments = models.PositiveIntegerField(default=0)
    stars = models.PositiveIntegerField(null=True, blank=True)
    citations = models.PositiveIntegerField(null=True, blank=True)
    version = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text=_("The highest version seen; what it says is newer.")
    )
    read_from = models.JSONField(
        default=dict, blank=True, help_text=_("Field -> slug of the source whose word it is.")
    )
    enriched_at = models.DateTimeField(null=True, blank=True, db_index=True)
    withdrawn_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text=_("When we learnt of the withdrawal.")
    )
    content_hash = models.CharField(
        max_length=32, help_text=_("Of everything a mail shows; ready pieces are kept under it.")
    )
    encoder = models.CharField(max_length=64, blank=True, help_text=_("What made `vector`."))
    vector = models.BinaryField(default=b"")
    meaning_by = models.CharField(
        max_length=64, blank=True, help_text=_("The model that made `meaning`.")
    )
    meaning = models.BinaryField(
        default=b"", help_text=_("papers.vectors.packed: a byte a dimension.")
    )
    first_seen_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    objects = PaperQuerySet.as_manager()

    class Meta:
        ordering = ["-first_seen_at", "-id"]
        indexes = [
            models.Index(fields=["-first_seen_at", "-id"], name="paper_by_first_seen"),
            models.Index(fields=["encoder", "-first_seen_at", "-id"], name="paper_by_encoder"),
            models.Index(fields=["meaning_by", "id"], name="paper_by_model"),
        ]

    def __str__(self) -> str:
        return f"{self.arxiv_id} {self.title}"

    def get_absolute_url(self) -> str:
        return reverse("papers:paper", args=[self.arxiv_id])

    @property
    def text(self) -> str:
        """What words are counted in: title and abstract as one text."""
        return f"{self.title}\n{self.abstract}"

    @property
    def abstract_url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv_id}"

    @property
    def pdf_url(self) -> str:
        return f"https://arxiv.org/pdf/{self.arxiv_id}"

    @property
    def discussion_url(self) -> str:
        return f"https://huggingface.co/papers/{self.arxiv_id}"


class Summary(models.Model):
    """What a model elsewhere wrote of a paper, or the wish for it (papers.summarizing).

    It is shown as long as the paper says what it was made of.
    """

    paper = models.OneToOneField(Paper, on_delete=models.CASCADE, related_name="summary")
    text = models.TextField(blank=True)
    model = models.CharField(max_length=64, blank=True)
    content_hash = models.CharField(
        max_length=64, help_text=_("Paper.content_hash of what it is about.")
    )
    made_at = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField(null=True, blank=True, db_index=True)
    not_before = models.DateTimeField(default=timezone.now)
    tries = models.PositiveSmallIntegerField(
        default=0, help_text=_("Answers that were no summary. No outage counts.")
    )
    error = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "summaries"
        ordering = ["-made_at", "-id"]
        indexes = [
            models.Index(fields=["not_before"], name="summary_wanted", condition=models.Q(text=""))
        ]

    def __str__(self) -> str:
        return str(self.paper_id)


class Revision(models.Model):
    """One field of a stored paper that a later, better reading changed. Votes are Signals."""

    paper = models.ForeignKey(Paper, on_delete=models.CASCADE, related_name="revisions")
    field = models.CharField(max_length=40)
    source = models.CharField(max_length=40, help_text=_("Slug of the source that said so."))
    at = models.DateTimeField()
    before = models.TextField(blank=True)
    after = models.TextField(blank=True)

    class Meta:
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.paper_id} {self.field}"


class Signal(models.Model):
    """One reading of what the community thinks of a paper. Counts keep growing for two weeks."""

    paper = models.ForeignKey(Paper, on_delete=models.CASCADE, related_name="signals")
    read_at = models.DateTimeField()
    upvotes = models.PositiveIntegerField()
    comments = models.PositiveIntegerField(default=0)
    stars = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["read_at"]
        constraints = [
            models.UniqueConstraint(fields=["paper", "read_at"], name="signal_one_per_reading")
        ]

    def __str__(self) -> str:
        return f"{self.paper_id} {self.read_at:%Y-%m-%d %H:%M} {self.upvotes}"


class EditionQuerySet(models.QuerySet["Edition"]):
    def open(self) -> Self:
        return self.filter(closed_at__isnull=True)

    def closed(self) -> Self:
        return self.filter(closed_at__isnull=False)

    def news(self) -> Self:
        """Closed, and closed as news: editions of past days made by backfill never are."""
        return self.closed().filter(is_backfill=False)

    def filled(self) -> Self:
        """Those with a paper that readers may see."""
        return self.filter(Exists(Entry.objects.standing().filter(edition=OuterRef("pk"))))


class Edition(models.Model):
    """One UTC day's papers: open while the day's list grows, then closed for good."""

    day = models.DateField(unique=True)
    is_backfill = models.BooleanField(
        _("backfilled"),
        default=False,
        help_text=_("Made for a day that had passed; never news to a reader."),
    )
    opened_at = models.DateTimeField(default=timezone.now)
    grew_at = models.DateTimeField(
        default=timezone.now, help_text=_("When a paper was last added.")
    )
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_seq = models.PositiveIntegerField(null=True, blank=True, unique=True)
    closed_by = models.CharField(
        max_length=150, blank=True, help_text=_("Whoever closed it before its time.")
    )
    note = models.TextField(blank=True, help_text=_("What went wrong when it closed, if anything."))

    objects = EditionQuerySet.as_manager()

    class Meta:
        ordering = ["-day"]
        get_latest_by = "day"
        constraints = [
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True, closed_seq__isnull=True)
                | Q(closed_at__isnull=False, closed_seq__isnull=False),
                name="edition_closed_with_its_number",
            )
        ]

    def __str__(self) -> str:
        return f"{self.day}"

    def get_absolute_url(self) -> str:
        return reverse("papers:day", args=[self.day.isoformat()])

    @property
    def is_open(self) -> bool:
        return self.closed_at is None


class EntryQuerySet(models.QuerySet["Entry"]):
    def standing(self) -> Self:
        """What readers may see: not withdrawn by its authors, not dropped by an editor."""
        return self.filter(paper__withdrawn_at__isnull=True, dropped_at__isnull=True)

    def ranked(self) -> Self:
        """Trending rank first; entries of an open edition have none yet and follow by votes, those
        that nobody votes on after all the others.
        """
        return self.standing().order_by(
            F("rank").asc(nulls_last=True), "-is_trending", "-paper__upvotes", "position", "id"
        )


class Entry(models.Model):
    """A paper's place in an edition, and what an editor decided about it.

    An editor may drop it (no reader sees it in this edition), or pick it: then it comes to every
    reader of the edition, apart from what was chosen for them, under the editor's name.
    """

    edition = models.ForeignKey(Edition, on_delete=models.CASCADE, related_name="entries")
    paper = models.ForeignKey(Paper, on_delete=models.CASCADE, related_name="entries")
    source = models.ForeignKey(
        Source,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="entries",
        help_text=_("Empty: an editor added it."),
    )
    position = models.PositiveSmallIntegerField(help_text=_("Place in its source’s list, from 1."))
    submitter = models.CharField(
        max_length=16,
        blank=True,
        help_text=_("Whoever listed it, as a hash: enough to know what else they listed."),
    )
    is_trending = models.BooleanField(
        default=True, help_text=_("It stands on the front page: a source with votes listed it.")
    )
    score = models.FloatField(null=True, blank=True, help_text=_("Trending score, 0 to 1."))
    rank = models.PositiveSmallIntegerField(null=True, blank=True, help_text=_("Trending rank."))
    group = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text=_("Near-duplicates of one edition share a number.")
    )
    added_at = models.DateTimeField(default=timezone.now)
    dropped_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When an editor took it out of the edition.")
    )
    picked_by = models.CharField(
        max_length=100, blank=True, help_text=_("The editor's name, as mails show it.")
    )
    editor_note = models.CharField(
        max_length=500, blank=True, help_text=_("Why it is picked, in the editor's words.")
    )

    objects = EntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "entries"
        ordering = ["edition", "position"]
        constraints = [
            models.UniqueConstraint(
                fields=["edition", "paper"], name="entry_paper_once_an_edition"
            ),
            models.CheckConstraint(
                condition=Q(picked_by="") | Q(dropped_at__isnull=True),
                name="entry_picked_or_dropped",
            ),
            models.CheckConstraint(
                condition=Q(editor_note="") | ~Q(picked_by=""), name="entry_note_of_a_pick"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.edition_id}/{self.position}"

    @property
    def is_pick(self) -> bool:
        return bool(self.picked_by)


def utc_day(now: datetime) -> date:
    """The UTC day that `now` belongs to, and so the edition it writes into."""
    return (now - (now.utcoffset() or timedelta(0))).date()
