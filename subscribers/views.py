"""A reader's pages: subscribing, confirming, preferences, leaving; and the local outbox.

A signed link in the path is the only authority here: there is no session and no cookie, so the
POSTs need no CSRF token (nobody can forge a path they do not know). The two forms that anybody
may post look at where they were posted from, and count. GET and HEAD change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from functools import wraps
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language, gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from papers.models import utc_day

from . import languages, limits, schedule, signup, tokens, topics
from .forms import (
    AddressForm,
    LinkForm,
    MutedForm,
    PauseForm,
    PreferencesForm,
    SubscribeForm,
    TopicForm,
)
from .mail import (
    CONFIRM_LINK_DAYS,
    MOVED_LINK_DAYS,
    RETURN_LINK_DAYS,
    bound_subject,
    unsubscribe_url,
    veiled,
)
from .models import ConsentEvent, Interest, Subscriber, Topic, address_hash
from .tokens import BadToken, ExpiredToken, Purpose
from .transports import outbox

VIA_PAGE = ConsentEvent.Via.PAGE

_OUTBOX_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'none'; "
    "sandbox allow-popups allow-top-navigation-by-user-activation"
)
# Tokens about an address, and the fields that may hold it. The present address counts for a change
# too: the button of one that is done may be pressed again.
_BOUND = {
    Purpose.CONFIRM: ("email",),
    Purpose.ADDRESS: ("new_email", "email"),
    Purpose.MOVED_BACK: ("old_email", "email"),
}
_HEAD = re.compile(r"<head[^>]*>", re.IGNORECASE)

View = Callable[..., HttpResponse]
_safe_or_post = require_http_methods(["GET", "HEAD", "POST"])


def private(view: View) -> View:
    """A page that no cache keeps, no search engine lists, and no other site hears of."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        response["Referrer-Policy"] = "no-referrer"
        response["X-Robots-Tag"] = "noindex, nofollow"
        return response

    return never_cache(wrapped)


def reader_page(purpose: Purpose) -> Callable[[View], View]:
    """Gives the view the reader that the token in the path is about, or shows a way out. The page
    speaks the reader's language.

    404 for a link that is not ours or whose reader is gone, 410 for one that is too old.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def wrapped(request: HttpRequest, token: str, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                subscriber = _reader(purpose, token)
            except ExpiredToken:
                return bad_link(request, status=410)
            except (BadToken, Subscriber.DoesNotExist):
                return bad_link(request, status=404)
            return languages.said_in(
                subscriber.language, view, request, subscriber, token, *args, **kwargs
            )

        return csrf_exempt(private(wrapped))

    return decorate


def posted_from(page: str) -> Callable[[View], View]:
    """Only a POST acts here. Who comes by the address alone, as when a browser opens its tabs
    again, is shown the page that posts here; nothing happens.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def wrapped(request: HttpRequest, token: str, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method == "POST":
                return view(request, token, *args, **kwargs)
            return redirect(page, token)

        return csrf_exempt(private(_safe_or_post(wrapped)))

    return decorate


# -- anybody's pages -----------------------------------------------------------------------


@csrf_exempt
@_safe_or_post
def subscribe(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return render(request, "subscribers/subscribe.html", {"form": SubscribeForm()})
    if refusal := _refusal(request):
        return refusal
    form = SubscribeForm(request.POST)
    if not form.is_valid():
        return render(request, "subscribers/subscribe.html", {"form": form})
    if not form.is_from_a_machine:
        signup.subscribe(
            form.cleaned_data["email"],
            time_zone=form.cleaned_data["time_zone"],
            language=get_language() or settings.LANGUAGE_CODE,
            now=timezone.now(),
            via=VIA_PAGE,
            first_topic=form.first_topic,
        )
    return redirect("subscribers:check_mail")


@require_safe
def check_mail(request: HttpRequest) -> HttpResponse:
    context = {"valid_days": CONFIRM_LINK_DAYS, "is_kept_here": _is_mail_kept_here()}
    return render(request, "subscribers/check_mail.html", context)


@csrf_exempt
@_safe_or_post
def request_link(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return render(request, "subscribers/request_link.html", {"form": LinkForm()})
    if refusal := _refusal(request):
        return refusal
    form = LinkForm(request.POST)
    if not form.is_valid():
        return render(request, "subscribers/request_link.html", {"form": form})
    signup.request_link(form.cleaned_data["email"], timezone.now())
    return redirect("subscribers:link_sent")


@require_safe
def link_sent(request: HttpRequest) -> HttpResponse:
    context = {"valid_days": settings.MANAGE_LINK_DAYS, "is_kept_here": _is_mail_kept_here()}
    return render(request, "subscribers/link_sent.html", context)


# -- pages behind a link in a mail ---------------------------------------------------------


@_safe_or_post
@reader_page(Purpose.CONFIRM)
def confirm(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    if request.method != "POST":
        return render(request, "subscribers/confirm.html")
    now = timezone.now()
    if not signup.confirm(subscriber, now=now, via=VIA_PAGE):
        return bad_link(request, status=404)
    manage = tokens.make(Purpose.MANAGE, subscriber.uuid.hex, today=utc_day(now))
    return redirect("digest:onboarding", manage)


@csrf_exempt
@_safe_or_post
@private
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """RFC 8058: a POST needs no cookie, is not redirected and may come any number of times."""
    try:
        uuid = _subject(Purpose.UNSUBSCRIBE, token)
    except BadToken:
        return bad_link(request, status=404)
    # An erased reader's link is as good as any: they get no mail.
    subscriber = Subscriber.objects.filter(uuid=uuid).first()
    language = subscriber.language if subscriber else get_language() or ""
    return languages.said_in(language, _unsubscribe, request, subscriber, token)


def _unsubscribe(request: HttpRequest, subscriber: Subscriber | None, token: str) -> HttpResponse:
    if request.method != "POST":
        return render(request, "subscribers/unsubscribe.html")
    now = timezone.now()
    context: dict[str, Any] = {"token": token}
    if subscriber is not None:
        signup.unsubscribe(subscriber, now=now, via=_unsubscribed_via(request))
        context |= {
            "can_undo": signup.may_come_back(subscriber, now),
            "can_have_note": signup.may_ask_for_goodbye(subscriber, now),
        }
    return render(request, "subscribers/unsubscribed.html", context)


@posted_from("subscribers:unsubscribe")
@reader_page(Purpose.UNSUBSCRIBE)
def undo_unsubscribe(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    now = timezone.now()
    is_back = signup.resubscribe(subscriber, now=now, via=VIA_PAGE)
    wants_link = is_back and "link" in request.POST
    if wants_link:
        signup.request_link(subscriber.email, now)
    context = {"is_back": is_back, "link_requested": wants_link}
    return render(request, "subscribers/undone.html", context)


@posted_from("subscribers:unsubscribe")
@reader_page(Purpose.UNSUBSCRIBE)
def goodbye(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    if signup.request_goodbye(subscriber, timezone.now()):
        return render(request, "subscribers/goodbye.html")
    is_back = subscriber.state == Subscriber.State.ACTIVE
    return render(request, "subscribers/undone.html", {"is_back": is_back})


@_safe_or_post
@reader_page(Purpose.RETURN)
def come_back(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    if request.method != "POST":
        return render(request, "subscribers/come_back.html")
    is_back = signup.resubscribe(subscriber, now=timezone.now(), via=VIA_PAGE)
    return render(request, "subscribers/undone.html", {"is_back": is_back})


@_safe_or_post
@reader_page(Purpose.MOVED_BACK)
def move_back(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    subject = _subject(Purpose.MOVED_BACK, token)
    old_email = _address_of(Purpose.MOVED_BACK, subject, subscriber) or ""
    context: dict[str, Any] = {"old_email": old_email, "hint": veiled(subscriber.email)}
    if old_email == subscriber.email:  # taken back already
        context["is_done"] = True
    if request.method == "POST":
        context["is_done"] = signup.move_back(subscriber, old_email, timezone.now())
    return render(request, "subscribers/move_back.html", context)


@_safe_or_post
@reader_page(Purpose.ADDRESS)
def change_address(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    new_email = _address_of(Purpose.ADDRESS, _subject(Purpose.ADDRESS, token), subscriber)
    context: dict[str, Any] = {"subscriber": subscriber, "new_email": new_email}
    if request.method != "POST":
        return render(request, "subscribers/change_address.html", context)
    context["is_changed"] = signup.change_address(subscriber, new_email or "", timezone.now())
    return render(request, "subscribers/address_changed.html", context)


# -- preferences ---------------------------------------------------------------------------


@_safe_or_post
@reader_page(Purpose.MANAGE)
def preferences(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    if request.method != "POST":
        return _preferences_page(request, subscriber, token)
    form = PreferencesForm(request.POST)
    if not form.is_valid():
        return _preferences_page(request, subscriber, token, preferences_form=form)
    signup.set_preferences(
        subscriber,
        form.preferences,
        papers_per_digest=form.cleaned_data["papers_per_digest"],
        likes_popular=form.cleaned_data["likes_popular"],
        language=form.cleaned_data.get("language") or None,
        now=timezone.now(),
    )
    return _saved(token, "preferences")


@_safe_or_post
@reader_page(Purpose.MANAGE)
def widen(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    if request.method == "POST":
        signup.widen(subscriber)
    context = {
        "token": token,
        "is_wide": subscriber.likes_popular,
        "is_saved": request.method == "POST",
    }
    return render(request, "subscribers/widen.html", context)


@posted_from("subscribers:preferences")
@reader_page(Purpose.MANAGE)
def pause(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    form = PauseForm(request.POST, today=_local_today(subscriber))
    if not form.is_valid():
        return _preferences_page(request, subscriber, token, pause_form=form)
    signup.pause(subscriber, form.cleaned_data["until"], timezone.now())
    return _saved(token, "pause")


@posted_from("subscribers:preferences")
@reader_page(Purpose.MANAGE)
def resume(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    signup.resume(subscriber, timezone.now())
    return _saved(token, "resume")


@posted_from("subscribers:preferences")
@reader_page(Purpose.MANAGE)
def address(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    form = AddressForm(request.POST)
    if not form.is_valid():
        return _preferences_page(request, subscriber, token, address_form=form)
    new_email = form.cleaned_data["email"]
    now = timezone.now()
    # One mail a day to any one address, whoever asks; the answer is the same. A request that
    # comes too early does not count.
    if signup.may_ask_for_address(subscriber, new_email, now) and limits.is_within(
        f"address:{address_hash(new_email)}", limit=1, seconds=24 * limits.HOUR
    ):
        signup.request_address_change(subscriber, new_email, now)
    return _saved(token, "address")


@posted_from("subscribers:preferences")
@reader_page(Purpose.MANAGE)
def mute(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    form = MutedForm(request.POST)
    if not form.is_valid():
        return _preferences_page(request, subscriber, token, muted_form=form)
    topics.set_muted(subscriber, form.wishes, now=timezone.now())
    return _saved(token, "muted")


@_safe_or_post
@reader_page(Purpose.MANAGE)
def add_topic(request: HttpRequest, subscriber: Subscriber, token: str) -> HttpResponse:
    form = TopicForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        name, wishes = form.cleaned_data["name"], form.wishes
        try:
            topics.add_topic(subscriber, name, wishes, now=timezone.now())
        except topics.TopicRefused:
            form.add_error("name", _refused_topic(subscriber))
        else:
            return _saved(token, "topic")
    return render(request, "subscribers/topic.html", {"token": token, "form": form})


@_safe_or_post
@reader_page(Purpose.MANAGE)
def topic(request: HttpRequest, subscriber: Subscriber, token: str, pk: int) -> HttpResponse:
    found = get_object_or_404(Topic, pk=pk, subscriber=subscriber)
    form = _topic_form(request, found)
    if request.method == "POST" and form.is_valid():
        name, wishes = form.cleaned_data["name"], form.wishes
        try:
            topics.revise_topic(found, name, wishes, now=timezone.now())
        except topics.TopicRefused:
            form.add_error("name", gettext("You have another topic of that name."))
        else:
            return _saved(token, "topic")
    context = {
        "token": token,
        "form": form,
        "topic": found,
        "seeds": topics.missing_seeds(found.interests.all()),
    }
    return render(request, "subscribers/topic.html", context)


@posted_from("subscribers:preferences")
@reader_page(Purpose.MANAGE)
def delete_topic(request: HttpRequest, subscriber: Subscriber, token: str, pk: int) -> HttpResponse:
    Topic.objects.filter(pk=pk, subscriber=subscriber).delete()
    return _saved(token, "deleted")


# -- the local outbox ----------------------------------------------------------------------


def for_the_operator(view: View) -> View:
    """404 unless the outbox is the transport; 403 unless on this machine, or staff."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not _is_mail_kept_here():
            raise Http404
        if not is_operator(request):
            return render(request, "subscribers/outbox_closed.html", status=403)
        return view(request, *args, **kwargs)

    return private(wrapped)


@require_safe
@for_the_operator
def outbox_list(request: HttpRequest) -> HttpResponse:
    return render(request, "subscribers/outbox.html", {"entries": outbox.entries()})


@require_safe
@for_the_operator
def outbox_mail(request: HttpRequest, name: str) -> HttpResponse:
    view = request.GET.get("view", "html")
    context = {
        "name": name,
        "mail": _outbox_mail(name),
        "view": view if view in ("html", "text", "source") else "html",
    }
    return render(request, "subscribers/outbox_mail.html", context)


@require_safe
@xframe_options_sameorigin
@for_the_operator
def outbox_html(request: HttpRequest, name: str) -> HttpResponse:
    """The mail itself, for a frame: nothing in it runs or loads, its links open outside."""
    html = _HEAD.sub(lambda head: f'{head[0]}<base target="_top">', _outbox_mail(name).html, 1)
    return HttpResponse(html, headers={"Content-Security-Policy": _OUTBOX_CSP})


# -- tokens --------------------------------------------------------------------------------


def _reader(purpose: Purpose, token: str) -> Subscriber:
    """Raises BadToken, or Subscriber.DoesNotExist for one who was erased."""
    subject = _subject(purpose, token)
    subscriber = Subscriber.objects.get(uuid=UUID(subject[:32]))
    if purpose in _BOUND and _address_of(purpose, subject, subscriber) is None:
        raise BadToken("about another address")
    return subscriber


def _address_of(purpose: Purpose, subject: str, subscriber: Subscriber) -> str | None:
    """The one of the reader's addresses that the token is about."""
    addresses = (getattr(subscriber, name) for name in _BOUND[purpose])
    return next((text for text in addresses if bound_subject(subscriber, text) == subject), None)


def _subject(purpose: Purpose, token: str) -> str:
    days = {
        Purpose.CONFIRM: CONFIRM_LINK_DAYS,
        Purpose.ADDRESS: CONFIRM_LINK_DAYS,
        Purpose.MANAGE: settings.MANAGE_LINK_DAYS,
        Purpose.MOVED_BACK: MOVED_LINK_DAYS,
        Purpose.RETURN: RETURN_LINK_DAYS,
    }
    today = utc_day(timezone.now())
    return tokens.read(purpose, token, today=today, max_age_days=days.get(purpose))


def bad_link(request: HttpRequest, *, status: int) -> HttpResponse:
    context = {"form": LinkForm(), "is_expired": status == 410}
    return render(request, "subscribers/bad_link.html", context, status=status)


def _unsubscribed_via(request: HttpRequest) -> str:
    try:
        is_one_click = "List-Unsubscribe" in request.POST
    except (MultiPartParserError, UnreadablePostError, SuspiciousOperation):
        is_one_click = False  # the wish is clear from the request, whatever its body says
    return ConsentEvent.Via.ONE_CLICK if is_one_click else VIA_PAGE


# -- who is asking -------------------------------------------------------------------------


def _refusal(request: HttpRequest) -> HttpResponse | None:
    """The answer to a post from another site, or to one too many; the address plays no part."""
    if not _is_from_our_pages(request):
        return render(request, "subscribers/refused.html", {"is_foreign": True}, status=403)
    if not limits.may_post(request):
        return render(request, "subscribers/refused.html", status=429)
    return None


def _is_from_our_pages(request: HttpRequest) -> bool:
    """By what the browser says of where the form stood. Programs say nothing, and may post.

    A page with `Referrer-Policy: no-referrer` posts with `Origin: null`, its own forms too;
    then Sec-Fetch-Site tells.
    """
    if site := request.headers.get("Sec-Fetch-Site"):
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin") or request.headers.get("Referer")
    if origin in (None, "null"):
        return True
    return urlsplit(origin).netloc in (urlsplit(settings.SITE_URL).netloc, request.get_host())


def is_operator(request: HttpRequest) -> bool:
    """Whether it comes from this machine, or from staff."""
    return _is_on_this_machine(request) or _is_staff(request)


def _is_on_this_machine(request: HttpRequest) -> bool:
    is_direct = not settings.TRUST_PROXY and "X-Forwarded-For" not in request.headers
    return is_direct and bool(limits.visitor(request).is_loopback)


def _is_staff(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_staff


# -- parts of pages ------------------------------------------------------------------------


def _preferences_page(
    request: HttpRequest, subscriber: Subscriber, token: str, **forms: Any
) -> HttpResponse:
    today = _local_today(subscriber)
    muted = MutedForm.initial_wishes(topics.wishes_of(subscriber.interests.muted()))
    context = {
        "token": token,
        "subscriber": subscriber,
        "unsubscribe_url": unsubscribe_url(subscriber, timezone.now()),
        "is_active": subscriber.state == Subscriber.State.ACTIVE,
        "is_paused": subscriber.is_paused(today),
        "topics": subscriber.topics.prefetch_related(
            Prefetch("interests", queryset=topics.with_papers(Interest.objects.all()))
        ),
        "saved": request.GET.get("saved", ""),
        "has_errors": bool(forms),
        "preferences_form": PreferencesForm(initial=PreferencesForm.initial_of(subscriber)),
        "pause_form": PauseForm(today=today),
        "address_form": AddressForm(),
        "muted_form": MutedForm(initial=muted),
    }
    return render(request, "subscribers/preferences.html", context | forms)


def _saved(token: str, what: str) -> HttpResponse:
    return redirect(f"{reverse('subscribers:preferences', args=[token])}?saved={what}")


def _local_today(subscriber: Subscriber) -> date:
    now: datetime = timezone.now()
    return schedule.slot_date(now, subscriber.time_zone)


def _topic_form(request: HttpRequest, found: Topic) -> TopicForm:
    if request.method == "POST":
        return TopicForm(request.POST)
    wishes = TopicForm.initial_wishes(topics.wishes_of(found.interests.all()))
    return TopicForm(initial={"name": found.name, **wishes})


def _refused_topic(subscriber: Subscriber) -> str:
    if subscriber.topics.count() >= topics.TOPICS_MAX:
        return gettext("You have %(limit)s topics, which is as many as there may be.") % {
            "limit": topics.TOPICS_MAX
        }
    return gettext("You have a topic of that name already.")


def _is_mail_kept_here() -> bool:
    return bool(settings.EMAIL_BACKEND.startswith(outbox.__name__))


def _outbox_mail(name: str) -> outbox.OutboxMail:
    try:
        return outbox.parts(outbox.load(name))
    except FileNotFoundError:
        raise Http404 from None
