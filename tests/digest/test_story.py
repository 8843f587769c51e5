"""A digest's story and its numbers, as plain data."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.admin import scores, story
from digest.compose import BRIEF, FULL, PICK, Item
from digest.models import Digest
from digest.ranking import BONUS, Reason
from digest.webhooks import WEIGHT
from papers.models import Paper
from tests.factories import DUE

MINUTE = timedelta(minutes=1)
FINE = {"sent_at": DUE + 2 * MINUTE, "state": Digest.State.SENT, "transport": "smtp"}


def make_digest(**fields) -> Digest:
    return Digest(**{"due_at": DUE, "assembled_at": DUE + MINUTE} | fields)


def said(digest: Digest) -> list[str]:
    return [moment.said for moment in story.timeline(digest)]


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


def test_a_settled_doubt_is_not_called_a_hand_over():
    assert said(make_digest(**FINE, error="the worker was lost"))[-1] == "Settled as sent"
    believed = make_digest(**FINE, outcome="delivered", outcome_at=FINE["sent_at"])
    assert said(believed)[-1] == "Taken as sent, on the provider’s word"


def test_what_is_to_come_stands_last():
    retry = make_digest(
        state=Digest.State.RETRY, retry_at=DUE + 9 * MINUTE, attempts=2, error="451 later"
    )
    last = story.timeline(retry)[-1]
    assert (last.said, last.facts) == ("Is tried again", "2 attempts · 451 later")


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
