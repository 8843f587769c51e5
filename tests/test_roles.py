"""Every page of the admin as each of the three roles: an editor never sees an address, a viewer
changes nothing, an operator can.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db.models import Model
from django.test import Client
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from digest import assembly, roles, sending
from digest.admin import showing
from digest.models import Alert, DeliveryEvent, Digest, Feedback, Heartbeat
from papers.models import (
    Fetch,
    Harvest,
    Revision,
    Signal,
    Source,
    TrendingFit,
    Vocabulary,
    WantedCategory,
    WantedPaper,
)
from subscribers import flow
from subscribers.models import (
    ConsentEvent,
    Interest,
    Subscriber,
    Suppression,
    Topic,
    TransportState,
    address_hash,
)
from tests.database import everything
from tests.factories import DUE, SUNDAY, make_edition, make_paper, make_reader
from tests.fakes.transport import FakeTransport

pytestmark = pytest.mark.django_db

ADDRESS = "ada@example.org"
PASSED = {200, 302, 403, 404, 405}


@pytest.fixture(autouse=True)
def soon_after():
    with time_machine.travel(DUE + timedelta(hours=1), tick=False):
        yield


@pytest.fixture
def transport(monkeypatch) -> FakeTransport:
    fake = FakeTransport()
    for module in (flow, sending):
        monkeypatch.setattr(module, "get_transports", lambda: [fake])
    monkeypatch.setattr(showing, "get_transport", lambda: fake)
    return fake


@pytest.fixture
def rows(transport) -> dict[type[Model], Model]:
    """One row of everything that the admin shows, each about Ada where it can be."""
    papers = [make_paper() for _ in range(2)]
    edition = make_edition(SUNDAY, papers)
    ada = make_reader(ADDRESS)
    assembly.assemble_due(DUE)
    sending.send_due(DUE)
    topic = Topic.objects.create(subscriber=ada, name="Bees")
    Interest.objects.create(subscriber=ada, topic=topic, kind="text", value="honey bees")
    ConsentEvent.objects.create(subscriber=ada, kind="confirmed", via="page")
    sending.hold(by="operator", now=DUE)
    digest = Digest.objects.get()
    DeliveryEvent.objects.create(
        digest=digest, provider="Postmark", event_id="1", event_type="bounced", occurred_at=DUE,
        payload={"Recipient": ADDRESS},
    )  # fmt: skip
    Feedback.give(subscriber=ada, paper=papers[0], kind="more", at=DUE)
    Heartbeat.note("beat", DUE)
    Alert.objects.create(name="broker", said="It failed.", began_at=DUE)
    TransportState.objects.create(name="smtp", error="cannot connect", error_at=DUE)
    Signal.objects.get_or_create(paper=papers[0], read_at=DUE, defaults={"upvotes": 3})
    Suppression.objects.create(address_hash=address_hash("ben@example.org"), reason="operator")
    Fetch.objects.create(
        source=Source.objects.get(slug="huggingface"), day=edition.day, started_at=DUE
    )
    Vocabulary.objects.get_or_create(encoder="test-1", defaults={"documents": 1, "table": b""})
    TrendingFit.objects.create(encoder="test-1", papers=1, table=b"")
    Revision.objects.create(paper=papers[0], field="title", source="arxiv", at=DUE)
    WantedPaper.objects.create(arxiv_id="2611.99999")
    WantedCategory.objects.create(name="math.CO")
    Harvest.objects.create(
        source=Source.objects.get(slug="huggingface"), name="cs", since=SUNDAY, until=SUNDAY
    )
    found = {model: model._default_manager.first() for model in shown_models()}
    assert all(found.values()), found
    return found


def shown_models() -> list[type[Model]]:
    ours = {"papers", "subscribers", "digest"}
    return [model for model in admin.site._registry if model._meta.app_label in ours]


def staff(role: str) -> Client:
    user = User.objects.create_user(role.lower(), f"{role.lower()}@staff.test", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def urls(rows: dict[type[Model], Model]) -> list[str]:
    """Every address of the admin, with the row of its model where it asks for one."""
    by_name = {f"{m._meta.app_label}_{m._meta.model_name}": row for m, row in rows.items()}
    found = set()
    for name, prefix in names(get_resolver("config.urls").url_patterns, ""):
        row = next((row for known, row in by_name.items() if prefix.endswith(known)), None)
        for args in ([], *([each.pk] for each in ([row] if row else rows.values()))):
            try:
                found.add(reverse(f"admin:{name}", args=args))
            except NoReverseMatch:
                continue
    return sorted(found)


def names(patterns, prefix: str) -> Iterator[tuple[str, str]]:
    """(name, the model that it stands under), of all that the admin's site serves."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            if prefix or pattern.app_name == "admin":
                route = str(pattern.pattern).strip("/").replace("/", "_")
                yield from names(pattern.url_patterns, f"{prefix}:{route}")
        elif isinstance(pattern, URLPattern) and pattern.name and prefix:
            yield pattern.name, prefix


def searches(rows: dict[type[Model], Model]) -> list[tuple[str, dict[str, str]]]:
    """What could find an address by asking for it."""
    lists = [f"admin:{m._meta.app_label}_{m._meta.model_name}_changelist" for m in rows]
    found = [(reverse(name), {"q": ADDRESS}) for name in lists]
    keys = [
        (field.model._meta.app_label, field.model._meta.model_name, field.name)
        for model in rows
        for field in model._meta.get_fields()
        if field.many_to_one and not field.auto_created
    ]
    for app, model, name in keys:
        query = {"app_label": app, "model_name": model, "field_name": name, "term": "ada"}
        found.append((reverse("admin:autocomplete"), query))
    return found


SILENT = {"/admin/logout/"}  # would end the visit


def test_the_walk_knows_every_list_and_page(rows):
    walked = urls(rows)
    for model, row in rows.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        assert reverse(f"{name}_changelist") in walked
        for page in ("change", "history", "delete"):
            assert reverse(f"{name}_{page}", args=[row.pk]) in walked
    digest = rows[Digest]
    for name in ("digest_hold_sending", "digest_release_sending"):
        assert reverse(f"admin:{name}") in walked
    assert reverse("admin:digest_digest_mail", args=[digest.pk]) in walked


def test_an_editor_never_sees_an_address(rows):
    client = staff("Editor")
    was_operator = User.objects.get(username="editor")
    for row in (rows[Subscriber], rows[Digest]):  # what they did before they were an editor
        LogEntry.objects.log_actions(was_operator.pk, [row], CHANGE, change_message="Pause")
    visits = [(url, {}) for url in urls(rows) if url not in SILENT] + searches(rows)
    opened = set()
    for url, query in visits:
        response = client.get(url, query)
        assert response.status_code in PASSED, url
        for text in (response.content.decode(errors="replace"), response.headers.get("Location")):
            assert ADDRESS not in (text or "") or ADDRESS in query.values(), f"{url} {query}"
            assert f">{ADDRESS}" not in (text or ""), f"{url} {query}"
        if response.status_code == 200:
            opened.add(url)
    assert reverse("admin:index") in opened
    assert reverse("admin:papers_edition_changelist") in opened
    assert reverse("admin:digest_slot_changelist") in opened
    assert reverse("admin:digest_digest_changelist") not in opened
    assert reverse("admin:subscribers_subscriber_changelist") not in opened


def test_the_same_walk_as_an_operator_does_find_the_address(rows):
    client = staff("Operator")
    seen = [url for url in urls(rows) if url not in SILENT and _says(client, url)]
    assert reverse("admin:subscribers_subscriber_changelist") in seen
    assert reverse("admin:digest_digest_change", args=[rows[Digest].pk]) in seen
    assert reverse("admin:digest_deliveryevent_change", args=[rows[DeliveryEvent].pk]) in seen


def _says(client: Client, url: str) -> bool:
    return ADDRESS in client.get(url).content.decode(errors="replace")


def test_a_viewer_sees_every_list_and_page_and_changes_nothing(rows):
    client = staff("Viewer")
    before = everything()
    for model, row in rows.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        assert client.get(reverse(f"{name}_changelist")).status_code == 200, model
        page = client.get(reverse(f"{name}_change", args=[row.pk]))
        assert page.status_code == 200, model
        text = page.content.decode()
        assert 'name="_save"' not in text, model
        assert 'class="page-action"' not in text, model
    for url in urls(rows):
        if url not in SILENT:
            response = client.post(url, {"post": "yes", "_save": "Save", "waiting": "send"})
            if url.endswith(("/add/", "/change/", "/delete/", "/begin/", "/release/")):
                assert response.status_code in (403, 404), url
    assert everything() == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("role", ["Viewer", "Editor"])
def test_no_action_acts_for_who_may_not(rows, transport, role):
    client = staff(role)
    Digest.objects.update(state=Digest.State.UNCERTAIN)
    accepted, before = len(transport.accepted), everything()
    allowed = {"papers"} if role == "Editor" else set()
    for model, row in rows.items():
        if model._meta.app_label in allowed:
            continue
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for action in (*admin.site._registry[model].actions, "delete_selected"):
            data = {"action": action, "_selected_action": row.pk, "confirmed": "1", "index": "0",
                    "post": "yes", "until": "2030-01-01", "hour": "9"}  # fmt: skip
            client.post(url, data)
    assert everything() == before
    assert len(transport.accepted) == accepted
    assert not LogEntry.objects.exists()


def test_an_editor_keeps_the_papers_and_nothing_else():
    group = Group.objects.get(name="Editor")
    held = {f"{p.content_type.app_label}.{p.codename}" for p in group.permissions.all()}
    assert held >= roles.EDITOR
    assert {name for name in held if not name.startswith("papers.")} == {"digest.view_slot"}
    assert not any(".add_" in name or ".delete_" in name for name in held)


def test_an_operator_may_do_all_of_it_but_make_staff():
    group = Group.objects.get(name="Operator")
    held = set(group.permissions.values_list("content_type__app_label", "codename"))
    for name in ("settle_digest", "add_hold", "change_hold", "change_digest"):
        assert ("digest", name) in held
    assert ("subscribers", "change_subscriber") in held
    assert {app for app, _name in held} == set(roles.APPS)


def test_an_operator_opens_settles_and_holds(rows):
    client = staff("Operator")
    for model, row in rows.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
        assert client.get(reverse(name, args=[row.pk])).status_code == 200, model
    Digest.objects.update(state=Digest.State.UNCERTAIN)
    data = {"action": "settle_as_sent", "_selected_action": rows[Digest].pk, "confirmed": "1"}
    client.post(reverse("admin:digest_digest_changelist"), data)
    assert Digest.objects.get().state == Digest.State.SENT
    client.post(reverse("admin:digest_release_sending"), {"waiting": "send"})
    assert client.get(reverse("admin:digest_hold_sending")).status_code == 200


def test_staff_accounts_are_nobodys_business_but_a_superusers(rows):
    for role in roles.ROLES:
        client = staff(role)
        assert "/auth/" not in client.get(reverse("admin:index")).content.decode()
        permissions = Group.objects.get(name=role).permissions
        assert not permissions.filter(content_type__app_label="auth").exists()


def migrate() -> None:
    call_command("migrate", verbosity=0, stdout=StringIO())


def test_a_migrate_puts_the_three_groups_back_and_leaves_others_alone():
    ours = Group.objects.get(name="Editor")
    right = set(ours.permissions.all())
    ours.permissions.set(Permission.objects.filter(codename__in=["view_subscriber", "add_user"]))
    Group.objects.filter(name="Viewer").delete()
    theirs = Group.objects.create(name="Accountants")
    theirs.permissions.set(Permission.objects.filter(codename="view_slot"))
    migrate()
    assert set(ours.permissions.all()) == right
    assert Group.objects.get(name="Viewer").permissions.exists()
    assert theirs.permissions.get().codename == "view_slot"


def test_a_second_migrate_changes_nothing():
    def members() -> set[tuple[str, int]]:
        return set(Group.objects.values_list("name", "permissions"))

    before = members()
    migrate()
    assert members() == before


def test_a_person_keeps_the_group_over_a_migrate():
    ada = User.objects.create_user("ada")
    ada.groups.add(Group.objects.get(name="Editor"))
    migrate()
    assert User.objects.get(pk=ada.pk).has_perm("papers.change_entry")


@pytest.mark.django_db(transaction=True)
def test_an_emptied_database_has_its_groups_again():
    call_command("flush", interactive=False, verbosity=0)
    assert {group.name for group in Group.objects.all()} == set(roles.ROLES)
    assert Group.objects.get(name="Editor").permissions.filter(codename="change_entry").exists()


def test_where_groups_have_no_table_yet_nothing_is_done():
    class Bare:
        def get_model(self, app: str, name: str) -> type[Model]:
            raise LookupError(app)

    roles.synchronise(None, apps=Bare(), using="default")
    assert Group.objects.filter(name__in=roles.ROLES).count() == len(roles.ROLES)


def test_every_permission_of_the_table_exists():
    known = Permission.objects.filter(content_type__app_label__in=roles.APPS)
    written = {f"{p.content_type.app_label}.{p.codename}" for p in known}
    assert written >= roles.EDITOR
