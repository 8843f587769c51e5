"""What readers told us: rows -> facts, a batch of readers at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from subscribers.models import Interest, Subscriber, Topic

from . import profile
from .models import Feedback

_KINDS = {kind.value: kind for kind in profile.RuleKind}


@dataclass(slots=True)
class _Made:
    """What a topic is made of, as it is read."""

    texts: list[str] = field(default_factory=list)
    rules: list[profile.Rule] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    named: list[str] = field(default_factory=list)  # papers by their arXiv ids, stored or not
    titles: list[str] = field(default_factory=list)  # papers that nobody here has

    def take(self, kind: str, value: str, paper_id: int | None) -> None:
        if kind == Interest.Kind.TEXT:
            self.texts.append(value)
        elif kind in _KINDS:
            self.rules.append(profile.Rule(_KINDS[kind], value))
        elif kind == Interest.Kind.TITLE:
            self.titles.append(value)
        else:
            self.named.append(value)
        if paper_id is not None:
            self.seeds.append(paper_id)

    def label(self, name: str) -> str:
        """An id is no name: where a paper was given without one, reasons name the paper alone, and
        until it is stored nothing is looked for."""
        return "" if name in self.named and not (self.texts or self.rules or self.titles) else name


def facts_of(subscriber_ids: Sequence[int]) -> dict[int, profile.ReaderFacts]:
    """By subscriber id; four queries for any number of readers."""
    made, muted = _interests(subscriber_ids)
    topics, opinions = _topics(subscriber_ids, made), _opinions(subscriber_ids)
    minding = _minding_popular(subscriber_ids)
    return {
        id: profile.ReaderFacts(
            tuple(topics.get(id, ())),
            tuple(muted.get(id, ())),
            tuple(opinions.get(id, ())),
            likes_popular=id not in minding,
        )
        for id in subscriber_ids
    }


def rule_of(kind: str, value: str) -> profile.Rule:
    """A muted description mutes its words as a phrase."""
    return profile.Rule(_KINDS.get(kind, profile.RuleKind.KEYWORD), value)


def _interests(
    subscriber_ids: Sequence[int],
) -> tuple[dict[int, _Made], dict[int, list[profile.Rule]]]:
    """What each topic is made of, and what each reader muted."""
    made: dict[int, _Made] = {}
    muted: dict[int, list[profile.Rule]] = defaultdict(list)
    rows = Interest.objects.filter(subscriber_id__in=subscriber_ids).order_by("id")
    columns = ("subscriber_id", "topic_id", "kind", "value", "paper_id")
    for subscriber_id, topic_id, kind, value, paper_id in rows.values_list(*columns):
        if topic_id is None:
            muted[subscriber_id].append(rule_of(kind, value))
        else:
            made.setdefault(topic_id, _Made()).take(kind, value, paper_id)
    return made, muted


def _topics(
    subscriber_ids: Sequence[int], made: Mapping[int, _Made]
) -> dict[int, list[profile.TopicFacts]]:
    found: dict[int, list[profile.TopicFacts]] = defaultdict(list)
    nothing = _Made()
    rows = Topic.objects.filter(subscriber_id__in=subscriber_ids).order_by("id")
    for subscriber_id, topic_id, name in rows.values_list("subscriber_id", "id", "name"):
        of = made.get(topic_id, nothing)
        facts = profile.TopicFacts(
            of.label(name), tuple(of.texts), tuple(of.rules), tuple(of.seeds), tuple(of.titles)
        )
        found[subscriber_id].append(facts)
    return found


def _minding_popular(subscriber_ids: Sequence[int]) -> set[int]:
    rows = Subscriber.objects.filter(pk__in=subscriber_ids, likes_popular=False).order_by()
    return set(rows.values_list("pk", flat=True))


def _opinions(subscriber_ids: Sequence[int]) -> dict[int, list[profile.Opinion]]:
    found: dict[int, list[profile.Opinion]] = defaultdict(list)
    rows = Feedback.objects.filter(subscriber_id__in=subscriber_ids).order_by("at", "id")
    columns = ("subscriber_id", "paper_id", "kind", "at")
    for subscriber_id, paper_id, kind, at in rows.values_list(*columns):
        found[subscriber_id].append(profile.Opinion(paper_id, kind, at))
    return found
