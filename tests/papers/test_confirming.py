"""Actions that ask first, over a desk of sources."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup
from django import forms
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import path

from papers import confirming
from papers.confirming import ActionsOnPage, Question, ask
from papers.models import Source
from tests.browser_form import filled_in

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

LIST = "/admin/papers/source/"


class NameForm(forms.Form):
    name = forms.CharField(max_length=20)


def rename(source: Source, answers: dict[str, str]) -> bool:
    if source.name == answers["name"]:
        return False
    source.name = answers["name"]
    source.save()
    return True


def remove(source: Source, answers: dict[str, str]) -> bool:
    return bool(Source.objects.filter(pk=source.pk).delete()[0])


class DeskAdmin(ActionsOnPage, admin.ModelAdmin):
    list_filter = ["is_enabled"]
    actions = ["rename", "remove", "fail"]

    def page_actions(self, request, obj):
        return ["rename", "remove"]

    @admin.action(description="Rename…", permissions=["change"])
    def rename(self, request, queryset):
        question = Question(
            action="rename",
            title="Rename",
            said="They get another name.",
            left="It has that name, or is switched off.",
            act=rename,
            form=NameForm,
            applies=lambda sources: sources.filter(is_enabled=True),
            describe=lambda source: f"<{source.slug}>",
        )
        return ask(self, request, queryset, question)

    @admin.action(description="Remove", permissions=["delete"])
    def remove(self, request, queryset):
        question = Question(
            action="remove", title="Remove", said="They go.", left="", act=remove,
            is_dangerous=True, removes_rows=True,
        )  # fmt: skip
        return ask(self, request, queryset, question)

    @admin.action(description="Fail")
    def fail(self, request, queryset):
        def act(source: Source, answers: dict[str, str]) -> bool:
            if source.slug == "b":
                raise RuntimeError
            return remove(source, answers)

        question = Question(action="fail", title="Fail", said="", left="", act=act)
        return ask(self, request, queryset.order_by("slug"), question)


desk = admin.AdminSite(name="admin")
desk.register(Source, DeskAdmin)
urlpatterns = [path("admin/", desk.urls)]


@pytest.fixture
def sources() -> list[Source]:
    made = [Source.objects.create(slug=slug, name=slug) for slug in ("a", "b", "c")]
    Source.objects.filter(slug="c").update(is_enabled=False)
    return made


@pytest.fixture
def operator(client):
    client.force_login(User.objects.create_superuser("operator"))
    return client


def choose(client, action: str, sources: list[Source], url: str = LIST, **extra):
    return client.post(
        url, {"action": action, "_selected_action": [row.pk for row in sources], **extra}
    )


def answer(client, page, url: str = LIST, **typed):
    """Posts the confirming page back, with what is typed into it."""
    data = filled_in(page, ".asking form") | typed
    return client.post(url, data, follow=True)


def said(page) -> list[str]:
    return [str(message) for message in page.context["messages"]]


def names() -> list[str]:
    return list(Source.objects.order_by("slug").values_list("name", flat=True))


def test_nothing_happens_before_the_answer(operator, sources):
    page = choose(operator, "rename", sources)
    shown = BeautifulSoup(page.content, "html.parser").select_one(".asking")
    assert "They get another name." in shown.get_text()
    assert [row.get_text() for row in shown.select(".rows li")] == ["<a>", "<b>"]
    assert "1 other that you selected is left as it is." in " ".join(shown.get_text().split())
    assert names() == ["a", "b", "c"]
    assert not LogEntry.objects.exists()


def test_the_answer_acts_on_each_row_it_applies_to_and_says_how_many(operator, sources):
    Source.objects.filter(slug="b").update(name="new")
    page = answer(operator, choose(operator, "rename", sources), name="new")
    assert names() == ["new", "new", "c"]
    assert said(page) == [
        "Rename: 1 done.",
        "2 were left as they are. It has that name, or is switched off.",
    ]
    (entry,) = LogEntry.objects.all()
    assert (entry.object_id, entry.change_message) == (str(sources[0].pk), "Rename (name: new)")


def test_a_wrong_answer_is_asked_again_with_its_error_and_changes_nothing(operator, sources):
    page = answer(operator, choose(operator, "rename", sources), name="x" * 21)
    shown = BeautifulSoup(page.content, "html.parser").select_one(".asking")
    assert "Nothing is done yet" in shown.select_one(".errornote").get_text()
    assert "at most 20 characters" in shown.select_one(".form-row .errorlist").get_text()
    assert shown.select_one("[name=name]")["value"] == "x" * 21
    assert names() == ["a", "b", "c"]


def test_other_rows_than_were_confirmed_are_asked_again_and_what_was_typed_stays(operator, sources):
    page = choose(operator, "rename", sources, select_across="1")
    Source.objects.filter(slug="c").update(is_enabled=True)
    page = answer(operator, page, name="new")
    assert names() == ["a", "b", "c"]
    shown = BeautifulSoup(page.content, "html.parser").select_one(".asking")
    assert "not as many as when you were asked" in shown.get_text()
    assert shown.select_one("[name=name]")["value"] == "new"
    answer(operator, page)
    assert names() == ["new", "new", "new"]


def test_where_nothing_applies_there_is_no_question(operator, sources):
    page = choose(operator, "rename", sources[2:])
    assert page.status_code == 302
    assert said(operator.get(page["Location"])) == [
        "1 was left as it is. It has that name, or is switched off."
    ]


def test_more_rows_than_fit_into_a_request_are_refused(operator, sources, monkeypatch):
    monkeypatch.setattr(confirming, "MOST_ROWS", 2)
    page = operator.get(choose(operator, "remove", sources)["Location"])
    assert said(page) == ["At most 2 at a time. Select fewer, or narrow the list by a filter."]
    assert Source.objects.count() == 3


def test_the_way_leads_back_to_the_list_as_it_was_filtered(operator, sources):
    url = f"{LIST}?is_enabled__exact=1"
    page = answer(operator, choose(operator, "rename", sources, url), url, name="new")
    assert page.redirect_chain[-1][0] == url


def test_a_rows_own_page_offers_its_actions_and_gets_the_operator_back(operator, sources):
    own = f"{LIST}{sources[0].pk}/change/"
    shown = BeautifulSoup(operator.get(own).content, "html.parser")
    buttons = shown.select(".page-actions button")
    assert [button.get_text() for button in buttons] == ["Rename…", "Remove"]
    form = buttons[0].find_parent("form")
    data = {field["name"]: field["value"] for field in form.select("input")}
    page = operator.post(form["action"], data)
    assert BeautifulSoup(page.content, "html.parser").select_one("a.closelink")["href"] == own
    page = answer(operator, page, name="new")
    assert page.redirect_chain[-1][0] == own
    assert names() == ["new", "b", "c"]


def test_the_way_back_leads_to_no_other_site(operator, sources):
    page = choose(operator, "rename", sources[:1], back="https://elsewhere.example/")
    page = answer(operator, page, name="new")
    assert page.redirect_chain[-1][0] == LIST


def test_from_the_page_of_a_row_that_goes_the_way_leads_to_the_list(operator, sources):
    own = f"{LIST}{sources[0].pk}/change/"
    page = answer(operator, choose(operator, "remove", sources[:1], back=own))
    assert page.redirect_chain[-1][0] == LIST
    assert said(page) == ["Remove: 1 done."]


def test_what_was_done_before_a_row_failed_is_in_the_history(operator, sources):
    page = choose(operator, "fail", sources[:2])
    with pytest.raises(RuntimeError):
        answer(operator, page)
    assert [entry.object_repr for entry in LogEntry.objects.all()] == ["a"]


def test_who_may_only_look_is_offered_nothing(client, sources):
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_source"))
    client.force_login(viewer)
    page = client.get(f"{LIST}{sources[0].pk}/change/").content.decode()
    assert "page-action" not in page
    choose(client, "rename", sources, confirmed="2", name="new")
    assert names() == ["a", "b", "c"]
