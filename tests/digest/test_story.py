"""A digest's story and its numbers, as plain data."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st

from digest.admin import scores, story
from digest.compose import BRIEF, FULL, PICK, Item
from digest.models import DeliveryEvent, Digest, Slot
from digest.ranking import BONUS, Reason
from digest.webhooks import WEIGHT
from papers.models import Paper
from tests.factories import DUE

MINUTE = timedelta(minutes=1)
FINE = {"sent_at": DUE + 2 * MINUTE, "state": Digest.State.SENT, "transport": "smtp"}
MARKED_AT, DOUBTED_AT, SETTLED_AT = DUE + 2 * MINUTE, DUE + 7 * MINUTE, DUE + 20 * MINUTE
MARKED = {"attempted_at": MARKED_AT, "attempts": 1}
BEGAN = "A worker marked it, and began to hand it over"
UNCERTAIN = "In doubt: it may have left, or not"


def make_digest(**fields) -> Digest:
    made = {"slot": Slot(date=DUE.date()), "due_at": DUE, "assembled_at": DUE + MINUTE}
    return Digest(**made | fields)


def in_doubt(**fields) -> Digest:
    """Its worker was lost in its first attempt."""
    doubt = {"state": Digest.State.UNCERTAIN, "doubted_at": DOUBTED_AT, "transport": "smtp"}
    return make_digest(**MARKED | doubt | {"error": "the worker was lost"} | fields)


def settled_by(whom: str, at: datetime = SETTLED_AT) -> dict[str, object]:
    return {"settled_by": whom, "settled_at": at}


def log_entry(message: str, *, at: datetime) -> LogEntry:
    return LogEntry(change_message=message, action_time=at, user=User(username="ben"))


def said(digest: Digest) -> list[str]:
    return [moment.said for moment in story.timeline(digest)]


def told(digest: Digest, **beside) -> list[tuple[datetime, str, str]]:
    return [(each.at, each.said, each.facts) for each in story.timeline(digest, **beside)]


@pytest.mark.parametrize("state", list(Digest.State))
def test_every_state_has_its_words(state):
    assert str(story.standing(make_digest(state=state))) != state


@pytest.mark.parametrize("outcome", [*WEIGHT, ""])
def test_every_outcome_that_counts_has_its_words(outcome):
    assert outcome in story.OUTCOMES


def test_a_word_that_no_provider_said_before_is_shown_as_it_came():
    assert story.outcome("teleported") == "teleported"
    assert story.reject_reason("lost in the post") == "lost in the post"


def test_a_hand_over_names_its_transport():
    assert said(make_digest(**FINE))[-1] == "Handed over by smtp"


def test_a_plain_delivery_is_told_without_its_preparations():
    assert said(make_digest(**FINE, attempts=1)) == ["Fell due", "Assembled", "Handed over by smtp"]


def test_a_mail_in_a_workers_hands_says_when_that_began_and_when_it_must_end():
    digest = make_digest(state=Digest.State.SENDING, **MARKED, lease_until=DUE + 7 * MINUTE)
    assert told(digest)[2:] == [
        (MARKED_AT, BEGAN, "attempt 1"),
        (DUE + 7 * MINUTE, "The worker’s lease ends", ""),
    ]


def test_a_refusal_stands_beside_the_attempt_that_met_it():
    digest = make_digest(state=Digest.State.FAILED, **MARKED, error="550 nobody here")
    assert told(digest)[-1] == (MARKED_AT, BEGAN, "attempt 1 · 550 nobody here")


def test_an_error_from_before_any_attempt_is_left_for_the_head_of_the_page():
    unmade = make_digest(state=Digest.State.FAILED, error="rendering: no such paper")
    assert story.untold_error(unmade, story.timeline(unmade)) == "rendering: no such paper"
    told_of = make_digest(state=Digest.State.FAILED, **MARKED, error="550 nobody here")
    assert story.untold_error(told_of, story.timeline(told_of)) == ""


def test_a_lost_worker_leaves_a_doubt_after_its_attempt():
    assert told(in_doubt())[2:] == [
        (MARKED_AT, BEGAN, "attempt 1 · smtp"),
        (DOUBTED_AT, UNCERTAIN, "the worker was lost"),
    ]


def test_the_operators_word_is_told_once_and_by_name():
    digest = in_doubt(state=Digest.State.SENT, sent_at=MARKED_AT, **settled_by("operator"))
    entry = log_entry("Settle as sent", at=SETTLED_AT + timedelta(seconds=1))
    assert told(digest, entries=[entry])[3:] == [
        (DOUBTED_AT, UNCERTAIN, "the worker was lost"),
        (SETTLED_AT, "Settled as sent", "by ben"),
    ]
    assert told(digest)[-1] == (SETTLED_AT, "Settled as sent", "the operator")


def test_only_the_word_that_settled_it_is_taken_out_of_the_log():
    digest = in_doubt(state=Digest.State.SENT, sent_at=MARKED_AT, **settled_by("operator"))
    again = log_entry("Send again", at=MARKED_AT - timedelta(seconds=9))
    settle = log_entry("Settle as sent", at=SETTLED_AT)
    test = log_entry("Send a test to me", at=SETTLED_AT + MINUTE)
    lines = [words for _at, words, _facts in told(digest, entries=[test, settle, again])]
    assert lines[2:] == ["Send again", BEGAN, UNCERTAIN, "Settled as sent", "Send a test to me"]


def test_what_the_operator_sent_again_is_handed_over_at_its_second_attempt():
    digest = make_digest(
        **FINE | {"sent_at": SETTLED_AT + 2 * MINUTE}, attempts=2, doubted_at=DOUBTED_AT,
        attempted_at=SETTLED_AT + MINUTE, **settled_by("operator"),
    )  # fmt: skip
    assert told(digest, entries=[log_entry("Send again", at=SETTLED_AT)])[2:] == [
        (DOUBTED_AT, UNCERTAIN, ""),
        (SETTLED_AT, "Settled as not sent, to be sent again", "by ben"),
        (SETTLED_AT + 2 * MINUTE, "Handed over by smtp", f"2 attempts · {digest.message_id}"),
    ]
    assert story.standing(digest) == story.STANDING["sent"]


def test_a_providers_word_settles_the_doubt_when_it_comes_in():
    digest = in_doubt(
        state=Digest.State.SENT, error="", sent_at=MARKED_AT,
        **settled_by("provider", MARKED_AT + timedelta(seconds=9)),
    )  # fmt: skip
    event = DeliveryEvent(
        pk=1, provider="Resend", event_type="delivered", received_at=SETTLED_AT,
        occurred_at=digest.settled_at,
    )  # fmt: skip
    assert told(digest, events=[event])[2:] == [
        (MARKED_AT, BEGAN, "attempt 1 · smtp"),
        (event.occurred_at, "Resend says: delivered to the mailbox", ""),
        (DOUBTED_AT, UNCERTAIN, ""),
        (SETTLED_AT, "Settled as sent", "the provider’s word"),
    ]


def test_a_word_from_before_the_doubt_settles_it_as_it_arises():
    early = {"settled_at": MARKED_AT, "settled_by": "provider"}
    digest = in_doubt(state=Digest.State.FAILED, error="the provider refused it", **early)
    assert told(digest)[-2:] == [
        (DOUBTED_AT, UNCERTAIN, ""),
        (DOUBTED_AT, "Settled as failed", "the provider’s word"),
    ]


def test_a_workers_late_result_says_why_it_failed():
    digest = in_doubt(state=Digest.State.FAILED, error="550 nobody", **settled_by("worker"))
    late = (SETTLED_AT, "Settled as failed", "the worker’s late result · 550 nobody")
    assert told(digest)[-2:] == [(DOUBTED_AT, UNCERTAIN, ""), late]


def test_a_doubt_that_may_be_repeated_is_told_as_one_and_not_as_a_failure():
    digest = in_doubt(state=Digest.State.RETRY, retry_at=DOUBTED_AT + MINUTE)
    assert told(digest)[-2:] == [
        (DOUBTED_AT, UNCERTAIN, "the worker was lost"),
        (DOUBTED_AT + MINUTE, "Is tried again", ""),
    ]
    assert "may have left" in str(story.standing(digest))


@pytest.mark.parametrize("by", Digest.SettledBy.values)
def test_a_settled_digest_says_by_whose_word_it_stands(by):
    digest = in_doubt(state=Digest.State.SENT, sent_at=MARKED_AT, **settled_by(by))
    assert story.standing(digest) != story.STANDING["sent"]
    assert story.is_proved_to_have_left(digest) is (by != "operator")


@st.composite
def rows(draw) -> Digest:
    """Any row that the database would take, its times in whatever order; a doubt before its end."""
    state = draw(st.sampled_from(Digest.State.values))
    names = ["attempted_at"] * draw(st.booleans()) + ["doubted_at"] * draw(st.booleans())
    names += {"sent": ["sent_at"], "retry": ["retry_at"]}.get(state, [])
    names += ["lease_until"] * (state in ("claimed", "sending"))
    times = {name: DUE + draw(st.integers(0, 60)) * MINUTE for name in names}
    by = draw(st.sampled_from(["", *Digest.SettledBy.values])) if "doubted_at" in times else ""
    settled = settled_by(by) if by else {}
    return make_digest(state=state, error="451 later", attempts=2, **times, **settled)


@given(rows())
def test_no_row_makes_a_story_that_repeats_itself_or_runs_backwards(digest):
    lines = told(digest)
    assert lines == sorted(lines, key=lambda line: line[0])
    assert len({words for _at, words, _facts in lines}) == len(lines)
    assert sum("451 later" in facts for _at, _words, facts in lines) <= 1


def test_what_is_to_come_stands_last():
    retry = make_digest(
        state=Digest.State.RETRY, retry_at=DUE + 9 * MINUTE, attempts=2, error="451 later"
    )
    assert told(retry)[-1] == (DUE + 9 * MINUTE, "Is tried again", "451 later")


def test_a_digest_of_nothing_says_why_it_is_empty():
    digest = make_digest(state=Digest.State.SKIPPED, skip_reason="nothing")
    assert story.timeline(digest)[1].facts == "nothing worth reading"


# -- scores --------------------------------------------------------------------------------


def numbers(item: Item) -> dict[str, str]:
    table = scores.table([item], {})
    heads = [str(column.heading) for column in table.columns]
    return dict(zip(heads, table.rows[0].numbers, strict=True))


def test_a_score_is_taken_apart_into_what_it_was_added_up_from():
    reason = Reason("author", "bees", name="Ada", parts={"z": 1.25, "bonus": 4.0})
    assert numbers(Item(1, FULL, 5.5, reason=reason)) == {
        "closeness": "1.25", "exact match": "4.00", "relevance (floor 1.0)": "5.25",
        "trend’s share": "0.25",
    }  # fmt: skip


def test_a_far_topic_takes_nothing_from_an_exact_match():
    reason = Reason("author", "bees", name="Ada", parts={"z": -2.0, "bonus": 4.0})
    found = numbers(Item(1, FULL, 4.1, reason=reason))
    assert (found["closeness"], found["relevance (floor 1.0)"]) == ("−2.00", "4.00")
    assert found["trend’s share"] == "0.10"


def test_where_relevance_did_not_count_in_full_no_share_is_made_up():
    liked = Reason("more", paper_id=7, parts={"z": 2.0})
    assert "trend’s share" not in numbers(Item(1, FULL, 1.2, reason=liked))


def test_a_part_that_is_new_is_shown_by_its_name():
    reason = Reason("topic", "bees", parts={"z": 2.0, "moon": 0.5})
    assert numbers(Item(1, FULL, 2.0, reason=reason))["moon"] == "0.50"


def test_each_section_and_the_floor_are_told():
    near, far = (Reason("topic", "bees", parts={"z": z}) for z in (1.0, 0.99))
    items = [Item(1, FULL, 1, reason=near), Item(2, FULL, 1, reason=far),
             Item(3, PICK, 0, reason=Reason("editor", name="Ben")), Item(4, BRIEF, 0)]  # fmt: skip
    rows = scores.table(items, {}).rows
    assert [row.clears_floor for row in rows] == [True, False, None, None]
    assert [str(row.section) for row in rows][2:] == ["editor’s pick", "title only"]


def test_a_reason_that_names_a_paper_gets_its_title():
    seed = Paper(pk=9, title="On bees")
    row = scores.table([Item(1, FULL, 2, reason=Reason("paper", paper_id=9))], {9: seed}).rows[0]
    assert row.reason.title == "On bees"
    assert row.paper is None


@given(st.floats(-8, 8), st.sampled_from([0.0, *BONUS.values()]), st.floats(0, 0.5))
def test_the_parts_of_any_score_add_up_to_it(z, bonus, prior):
    parts = {"z": round(z, 3)} | ({"bonus": bonus} if bonus else {})
    relevance = max(parts["z"], 0) + bonus if bonus else parts["z"]
    score = round(relevance + prior, 3)
    found = numbers(Item(1, FULL, score, reason=Reason("topic", parts=parts)))
    shown = float(found["relevance (floor 1.0)"].replace("−", "-")) + float(found["trend’s share"])
    assert abs(shown - score) < 0.02
