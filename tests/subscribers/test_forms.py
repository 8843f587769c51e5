"""What visitors type, without a database."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscribers.forms import (
    AddressForm,
    MutedForm,
    PauseForm,
    PreferencesForm,
    SubscribeForm,
    TopicForm,
    time_zone_choices,
)
from subscribers.models import Interest
from subscribers.topics import INTERESTS_MAX, Wish

TODAY = date(2026, 11, 23)
PREFERENCES = {
    "cadence": "weekdays",
    "hour": "7",
    "time_zone": "Europe/Berlin",
    "papers_per_digest": "5",
}


@pytest.mark.parametrize("email", ["ada@example.org", "ada@bücher.example", "a+b@sub.example.org"])
def test_good_addresses_pass(email):
    assert SubscribeForm({"email": email}).is_valid()


@pytest.mark.parametrize("email", ["ada", "ada@", "@example.org", "ada example.org", "a@b@c.org"])
def test_a_bad_address_is_named(email):
    form = SubscribeForm({"email": email})
    assert not form.is_valid()
    assert email in form.errors["email"][0]


def test_no_address_is_asked_for():
    assert "type your e-mail address" in SubscribeForm({"email": " "}).errors["email"][0]


def test_a_header_cannot_be_smuggled_in_an_address():
    assert not AddressForm({"email": "ada@example.org\r\nBcc: eve@example.org"}).is_valid()


@pytest.mark.parametrize(
    ("guess", "zone"),
    [
        ("Asia/Tokyo", "Asia/Tokyo"),
        ("", "UTC"),
        ("Mars/Olympus", "UTC"),
        ("../../etc/passwd", "UTC"),
        ("America", "UTC"),
    ],
)
def test_a_guessed_zone_that_is_none_becomes_utc(guess, zone):
    form = SubscribeForm({"email": "ada@example.org", "time_zone": guess})
    assert form.is_valid()
    assert form.cleaned_data["time_zone"] == zone


def test_every_zone_is_offered_once():
    names = [time_zone_choices()[0][0]]
    names += [name for _region, zones in time_zone_choices()[1:] for name, _label in zones]
    assert len(names) == len(set(names)) > 400
    assert {"Europe/Berlin", "America/Argentina/Ushuaia", "UTC"} <= set(names)


@pytest.mark.parametrize(
    ("cadence", "days", "problem"),
    [
        ("daily", [], None),
        ("weekdays", [], None),
        ("chosen", ["1", "3"], None),
        ("chosen", [], "at least one day"),
        ("weekly", ["4"], None),
        ("weekly", [], "the one day"),
        ("weekly", ["1", "2"], "the one day"),
        ("chosen", ["7"], "not one of the available"),
    ],
)
def test_days_fit_the_cadence(cadence, days, problem):
    form = PreferencesForm({**PREFERENCES, "cadence": cadence, "days": days})
    if problem is None:
        assert form.is_valid()
        assert form.preferences.days == {int(day) for day in days}
    else:
        assert problem in form.errors["days"][0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cadence", "hourly"),
        ("hour", "24"),
        ("hour", "seven"),
        ("time_zone", "Mars/Olympus"),
        ("papers_per_digest", "0"),
        ("papers_per_digest", "11"),
    ],
)
def test_wrong_preferences_are_named(field, value):
    form = PreferencesForm({**PREFERENCES, field: value})
    assert list(form.errors) == [field]


@given(st.dictionaries(st.sampled_from([*sorted(PREFERENCES), "days"]), st.text()))
def test_whatever_is_posted_is_answered(data):
    form = PreferencesForm({**data, "days": [data.get("days", "")]})
    if form.is_valid():
        assert form.preferences.weekdays()


@pytest.mark.parametrize(("days", "ok"), [(0, False), (1, True), (366, True), (367, False)])
def test_a_pause_ends_tomorrow_or_within_a_year(days, ok):
    form = PauseForm({"until": (TODAY + timedelta(days=days)).isoformat()}, today=TODAY)
    assert form.is_valid() == ok


def test_a_pause_until_nonsense_is_refused_kindly():
    form = PauseForm({"until": "soon"}, today=TODAY)
    assert "Please give a date" in form.errors["until"][0]


# -- wishes --------------------------------------------------------------------------------


def test_one_line_is_one_wish_cleaned_by_its_kind():
    form = TopicForm(
        {
            "name": "  sparse \n attention ",
            "text": "Faster attention.\n\n  Long   contexts.  ",
            "keywords": "KV cache\nKV cache",
            "authors": "Ada Lovelace",
            "organizations": "",
            "categories": "cs.cl\nHEP-TH\ncond-mat.Mtrl-Sci\nnlin.ao",
            "papers": "1706.03762v5\nhttps://arxiv.org/abs/math.CA/0611800",
        }
    )
    assert form.is_valid(), form.errors
    assert form.cleaned_data["name"] == "sparse attention"
    assert form.wishes == [
        Wish(Interest.Kind.TEXT, "Faster attention."),
        Wish(Interest.Kind.TEXT, "Long contexts."),
        Wish(Interest.Kind.KEYWORD, "KV cache"),
        Wish(Interest.Kind.AUTHOR, "Ada Lovelace"),
        Wish(Interest.Kind.CATEGORY, "cs.CL"),
        Wish(Interest.Kind.CATEGORY, "hep-th"),
        Wish(Interest.Kind.CATEGORY, "cond-mat.mtrl-sci"),
        Wish(Interest.Kind.CATEGORY, "nlin.AO"),
        Wish(Interest.Kind.PAPER, "1706.03762"),
        Wish(Interest.Kind.PAPER, "math/0611800"),
    ]


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("categories", "machine learning"),
        ("categories", "cs.C"),
        ("categories", "cs.XX"),
        ("categories", "cs.CLL"),
        ("papers", "Attention is all you need"),
        ("papers", "javascript:alert(1)"),
        ("keywords", "x" * 501),
    ],
)
def test_a_wrong_line_is_named(field, line):
    form = TopicForm({"name": "attention", field: line})
    assert line[:40] in form.errors[field][0]


def test_a_topic_has_two_hundred_interests_at_most():
    lines = "\n".join(f"word {number}" for number in range(INTERESTS_MAX + 1))
    assert "200 lines" in TopicForm({"name": "much", "keywords": lines}).non_field_errors()[0]
    assert "200 lines" in MutedForm({"keywords": lines}).non_field_errors()[0]


def test_a_topic_needs_a_name_that_can_be_read():
    assert "name" in TopicForm({"name": " "}).errors
    assert "name" in TopicForm({"name": "\u202e\u202e"}).errors
    assert "name" in TopicForm({"name": "x" * 81}).errors


def test_what_no_database_can_store_is_taken_out():
    form = MutedForm({"keywords": "sur\x01vey\u202e\nplain"})
    assert form.is_valid()
    assert [wish.value for wish in form.wishes] == ["survey", "plain"]


def test_a_form_shows_what_is_stored_one_per_line():
    wishes = [Wish(Interest.Kind.KEYWORD, "a"), Wish(Interest.Kind.KEYWORD, "b")]
    html = str(MutedForm(initial=MutedForm.initial_wishes(wishes))["keywords"])
    assert "a\nb</textarea>" in html
