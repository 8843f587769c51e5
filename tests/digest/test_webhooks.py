"""What providers say of a mail, repeated and in any order, through anymail's own signal."""

from __future__ import annotations

import base64
from datetime import timedelta
from itertools import permutations

import pytest
from anymail.signals import AnymailTrackingEvent, tracking

from digest import assembly, sending, urls
from digest.models import DeliveryEvent, Digest
from subscribers import signup
from subscribers.models import ConsentEvent, Subscriber, Suppression, address_hash
from subscribers.transports import Receipt, Status
from tests.factories import DUE

pytestmark = pytest.mark.usefixtures("balanced_books")

State = Digest.State
DAY = timedelta(days=1)


def say(event_type: str, digest: Digest | None = None, **fields) -> None:
    """As anymail does when a provider posts an event."""
    defaults = {
        "event_type": event_type,
        "event_id": f"{event_type}-1",
        "timestamp": DUE + timedelta(minutes=1),
        "recipient": "ada@example.org",
        "metadata": {"digest": digest.uuid.hex} if digest else {},
        "esp_event": {"type": event_type},
    }
    event = AnymailTrackingEvent(**defaults | fields)
    tracking.send(sender=None, event=event, esp_name="Postbote")


@pytest.fixture
def sent(digest, transport) -> Digest:
    transport.answers = [Receipt(Status.SENT, "provider-17")]
    sending.send_due(DUE)
    digest.refresh_from_db()
    return digest


@pytest.fixture
def uncertain(digest, transport) -> Digest:
    transport.answers = [Status.UNCERTAIN]
    sending.send_due(DUE)
    digest.refresh_from_db()
    assert digest.state == State.UNCERTAIN
    return digest


def test_an_event_is_kept_with_its_payload_and_tells_the_outcome(sent):
    say("delivered", sent)
    event = DeliveryEvent.objects.get()
    sent.refresh_from_db()
    assert (event.digest, event.provider, event.payload) == (
        sent,
        "Postbote",
        {"type": "delivered"},
    )
    assert (sent.outcome, sent.outcome_at) == ("delivered", DUE + timedelta(minutes=1))
    assert sent.state == State.SENT


def test_a_repeated_event_is_kept_once(sent):
    for _ in range(3):
        say("complained", sent)
    assert DeliveryEvent.objects.count() == 1
    assert Suppression.objects.count() == 1
    assert ConsentEvent.objects.filter(kind=ConsentEvent.Kind.SUPPRESSED).count() == 1


def test_a_repeated_event_without_an_id_is_kept_once(sent):
    for _ in range(2):
        say("delivered", sent, event_id=None)
    say("delivered", sent, event_id=None, timestamp=DUE + timedelta(minutes=2))
    assert DeliveryEvent.objects.count() == 2


def test_the_outcome_is_the_weightiest_word_in_whatever_order(sent):
    for order in permutations(["sent", "deferred", "delivered", "bounced"]):
        DeliveryEvent.objects.all().delete()
        Digest.objects.update(outcome="", outcome_at=None)
        for event_type in order:
            say(event_type, sent, reject_reason="blocked" if event_type == "bounced" else None)
        sent.refresh_from_db()
        assert sent.outcome == "bounced", order
        assert DeliveryEvent.objects.count() == 4


@pytest.mark.parametrize("event_type", ["opened", "clicked", "unknown", "subscribed"])
def test_words_that_tell_nothing_of_delivery_change_nothing(sent, event_type):
    say("delivered", sent)
    say(event_type, sent)
    sent.refresh_from_db()
    assert sent.outcome == "delivered"


def test_an_event_finds_its_digest_by_our_own_message_id_which_is_not_kept_twice(sent):
    Digest.objects.update(provider_message_id="")
    say("delivered", message_id=f"{sent.uuid.hex}.digest@paperround.test")
    sent.refresh_from_db()
    assert (sent.outcome, DeliveryEvent.objects.get().digest) == ("delivered", sent)
    assert sent.message_id == f"<{sent.uuid.hex}.digest@paperround.test>"


def test_an_event_finds_its_digest_by_the_provider_s_message_id(sent):
    say("delivered", message_id="provider-17")
    sent.refresh_from_db()
    assert sent.outcome == "delivered"


@pytest.mark.parametrize("ours", ["0" * 32, "no uuid at all", "", None, 17])
def test_an_event_about_no_digest_of_ours_is_kept_and_does_no_harm(sent, ours):
    say("delivered", metadata={"digest": ours}, message_id="somebody else's")
    assert DeliveryEvent.objects.get().digest is None
    sent.refresh_from_db()
    assert sent.outcome == ""


def test_an_event_without_almost_anything_is_kept(db):
    say("", event_id=None, timestamp=None, recipient=None, metadata=None, esp_event="text")
    event = DeliveryEvent.objects.get()
    assert (event.event_type, event.payload) == ("unknown", {})


def test_texts_of_a_provider_fit_the_row(sent):
    say("delivered", sent, message_id="m" * 999, event_id="e" * 999)
    event = DeliveryEvent.objects.get()
    assert (len(event.provider_message_id), len(event.event_id)) == (255, 255)


# -- doubts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", ["queued", "sent", "deferred", "delivered", "bounced"])
def test_a_word_that_the_provider_has_it_settles_the_doubt(uncertain, event_type):
    say(event_type, uncertain, message_id="provider-9")
    uncertain.refresh_from_db()
    assert (uncertain.state, uncertain.sent_at) == (State.SENT, uncertain.attempted_at)
    assert uncertain.settled_at == DUE + timedelta(minutes=1)
    assert uncertain.settled_by == Digest.SettledBy.PROVIDER
    assert (uncertain.error, uncertain.provider_message_id) == ("", "provider-9")


@pytest.mark.parametrize("event_type", ["rejected", "failed"])
def test_a_word_that_the_provider_would_not_have_it_settles_the_doubt(uncertain, event_type):
    say(event_type, uncertain)
    uncertain.refresh_from_db()
    assert uncertain.state == State.FAILED


def test_a_word_about_a_digest_that_was_to_be_sent_again_spares_the_reader_the_second(
    digest, transport
):
    transport.repeats_safely = True
    transport.answers = [Status.UNCERTAIN]
    sending.send_due(DUE)
    say("delivered", digest)
    assert sending.send_due(DUE + timedelta(hours=1)) == {}
    digest.refresh_from_db()
    assert digest.state == State.SENT
    assert Subscriber.objects.get().cursor == digest.closed_seq


def test_a_word_about_a_digest_that_never_left_does_not_end_it(digest, transport):
    say("delivered", digest)
    digest.refresh_from_db()
    assert digest.state == State.ASSEMBLED


@pytest.mark.parametrize("event_type", ["rejected", "bounced", "failed"])
def test_a_digest_that_was_sent_stays_so_whatever_became_of_it(sent, event_type):
    say(event_type, sent)
    sent.refresh_from_db()
    assert (sent.state, sent.outcome) == (State.SENT, event_type)


# -- suppression -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type", "reject_reason", "reason"),
    [
        ("complained", None, "complaint"),
        ("complained", "spam", "complaint"),
        ("bounced", "bounced", "bounce"),
        ("bounced", "invalid", "bounce"),
    ],
)
def test_a_hard_bounce_or_a_complaint_ends_all_mail(sent, event_type, reject_reason, reason):
    say(event_type, sent, reject_reason=reject_reason)
    assert Suppression.objects.get().reason == reason
    assert ConsentEvent.objects.get().via == ConsentEvent.Via.PROVIDER
    assembly.assemble_due(DUE + DAY)
    assert Digest.objects.latest("slot__date").state == State.SUPPRESSED
    assert sending.send_due(DUE + DAY) == {}


@pytest.mark.parametrize(
    ("event_type", "reject_reason"),
    [("bounced", "blocked"), ("bounced", "timed_out"), ("bounced", None), ("deferred", None)],
)
def test_a_soft_bounce_ends_nothing(sent, event_type, reject_reason):
    say(event_type, sent, reject_reason=reject_reason)
    assert not Suppression.objects.exists()


def test_a_bounce_stops_the_digest_that_waits(sent, transport):
    Subscriber.objects.update(cursor=0)
    Digest.objects.filter(pk=sent.pk).update(items=[])
    assembly.assemble_due(DUE + DAY)
    say("bounced", sent, reject_reason="invalid")
    assert sending.send_due(DUE + DAY) == {State.SUPPRESSED: 1}


def test_a_service_mail_s_bounce_suppresses_its_address(db):
    say("bounced", reject_reason="invalid", recipient="Ben@Example.org")
    assert Suppression.objects.get().address_hash == address_hash("ben@example.org")


def test_a_bounce_without_its_address_is_the_reader_s(sent):
    say("bounced", sent, reject_reason="invalid", recipient=None)
    assert Suppression.objects.get().address_hash == sent.subscriber.address_hash


def test_a_bounce_of_nobody_suppresses_nobody(db):
    say("bounced", reject_reason="invalid", recipient=None)
    assert not Suppression.objects.exists()


def test_a_late_bounce_of_an_address_that_the_reader_left_spares_the_new_one(sent):
    reader = sent.subscriber
    reader.set_address("ada.new@example.org")
    reader.save()
    say("bounced", sent, reject_reason="invalid", recipient="ada@example.org")
    assert Suppression.objects.get().address_hash == address_hash("ada@example.org")
    assert not ConsentEvent.objects.exists()
    assert Subscriber.objects.mailable(DUE.date()).exists()


def test_a_complaint_outweighs_the_reader_s_own_goodbye(sent):
    signup.unsubscribe(sent.subscriber, now=DUE, via="one_click")
    say("complained", sent)
    assert Suppression.objects.get().reason == Suppression.Reason.COMPLAINT
    assert not signup.resubscribe(sent.subscriber, now=DUE, via="page")


def test_a_word_about_an_erased_reader_s_digest_suppresses_the_address_and_keeps_none(sent):
    sent.subscriber.delete()
    say("complained", sent)
    assert Suppression.objects.get().address_hash == address_hash("ada@example.org")
    assert DeliveryEvent.objects.get().payload == {}


def test_suppressing_names_nobody_in_the_log(sent, caplog):
    caplog.set_level("INFO", logger="digest")
    say("complained", sent)
    assert "address suppressed reason=complaint provider=Postbote" in caplog.text
    assert "example.org" not in caplog.text


# -- over HTTP -----------------------------------------------------------------------------------


def report_a_bounce(client, digest: Digest, *, user: str) -> int:
    """As Postmark posts it: its shape, made up to what is read here."""
    bounce = {
        "RecordType": "Bounce",
        "ID": 4323372036854775807,
        "Type": "HardBounce",
        "TypeCode": 1,
        "MessageID": "provider-17",
        "Metadata": {"digest": digest.uuid.hex},
        "Email": "ada@example.org",
        "BouncedAt": "2026-11-23T06:31:00.0000000Z",
    }
    answer = client.post(
        "/webhooks/postmark/tracking/",
        bounce,
        content_type="application/json",
        headers={"authorization": f"Basic {base64.b64encode(user.encode()).decode()}"},
    )
    return answer.status_code


def test_a_provider_that_knows_the_secret_is_heard_and_nobody_else(sent, client, settings):
    settings.ANYMAIL = {"WEBHOOK_SECRET": "post:office"}
    settings.ROOT_URLCONF = tuple(urls.provider_reports())
    assert report_a_bounce(client, sent, user="post:guess") == 400
    assert not DeliveryEvent.objects.exists()
    assert report_a_bounce(client, sent, user="post:office") == 200
    assert Suppression.objects.get().reason == Suppression.Reason.BOUNCE
    sent.refresh_from_db()
    assert sent.outcome == "bounced"


def test_without_a_secret_there_is_nobody_to_report_to(sent, client):
    assert report_a_bounce(client, sent, user="post:office") == 404


def test_a_complaint_about_a_mail_that_is_no_digest_is_in_the_readers_history(reader):
    say("complained", message_id=f"<silence.{reader.uuid.hex}.0@paperround.test>")
    assert Suppression.objects.get().reason == "complaint"
    (event,) = reader.consent_events.all()
    assert (event.kind, event.via) == (ConsentEvent.Kind.SUPPRESSED, ConsentEvent.Via.PROVIDER)


def test_a_late_word_about_a_mail_to_somebody_who_is_gone_keeps_no_address(reader):
    payload = {"Email": "ada@example.org"}
    say("delivered", event_id="before", esp_event=payload)
    Subscriber.objects.all().delete()
    say("bounced", event_id="after", esp_event=payload)
    kept = DeliveryEvent.objects.values_list("event_id", "payload")
    assert dict(kept) == {"before": payload, "after": {}}
