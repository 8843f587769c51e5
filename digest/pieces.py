"""A digest's mail as a join of ready pieces: the fast way to what `rendering.message` makes.

Everybody's edition is printed once. What readers share is made by the templates, its CSS inlined
and its bytes quoted-printable encoded, and cut apart at marks that the templates carry (`cut`);
a mail is a join of such pieces and the reader's few words. So both ways say the same by
construction, and the templates stay the only place that says how a mail looks.

The largest piece is the *shell*: a whole mail whose words, items and keys are cut out. It is kept
by what it shows besides (`_shell_facts`); an item's mould is kept with its paper; a sentence, under
its words. What is missing is taken from one rendering of the mail at hand.

Every encoded piece ends in a soft line break (RFC 2045, 6.7), so that pieces join anywhere, no
line passes 76 characters, and none begins with a dot, which SMTP would have to double.
"""

from __future__ import annotations

import re
import secrets
import time
from binascii import b2a_base64, b2a_qp
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import cached_property, lru_cache, partial
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.core.mail.message import forbid_multi_line_headers
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.text import capfirst, wrap

from subscribers import mail
from subscribers.transports.ready import Mail, ReadyMail

from . import rendering
from .copies import Copy
from .models import Digest
from .ranking import Reason
from .recent import Recent
from .rendering import Content, ContentItem, ShownReason

SHELLS_KEPT = 250  # of each generation: about 30 kB each
LINE_CHARACTERS = 72  # as the templates' `wordwrap`
ENCODED_CHARACTERS = 75  # of a line, before the `=` of its soft break
# Of a subject: with `Subject: ` before it, no line passes 76 characters (RFC 2047, 2).
SUBJECT_CHARACTERS = 63
WORD_BYTES = 39  # in an encoded word
SOFT_BREAK = b"=\r\n"

_READ, _MANAGE, _UNSUBSCRIBE = KEYS = ("read", "manage", "unsubscribe")
_WORDS = ("topic", "terms", "name", "title", "note")  # of a reason
_HEADERS = ("uuid", "to", "date", "text", "html")
_NAMES = (*rendering.CUTS, *KEYS, *_WORDS, *_HEADERS, "alone")
_WORDS_OF_A_MAIL = ("subject", "preheader", *KEYS, "count", "consented", "cadence", "next")
_READ_AT, _UNSUBSCRIBE_AT = _WORDS_OF_A_MAIL.index(_READ), _WORDS_OF_A_MAIL.index(_UNSUBSCRIBE)

# Letters and digits survive escaping, the inliner and reversing; and no text can hold what is
# drawn anew by every process.
_SECRET = secrets.token_hex(15)
_MARKS = {name: f"{_SECRET}{number:02}" for number, name in enumerate(_NAMES)}
_MARK = re.compile(_SECRET + r"(\d\d)")
_REGIONS = frozenset(rendering.CUTS)
_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
_PLAIN_ADDRESS = re.compile(
    rf"{_ATOM}(?:\.{_ATOM})*@[a-z0-9-]+(?:\.[a-z0-9-]+)*", re.ASCII | re.IGNORECASE
)
_QUOTED = {
    byte: chr(byte) if (32 <= byte <= 126 and byte != ord("=")) or byte == 9 else f"={byte:02X}"
    for byte in range(256)
}


def message(digest: Digest | Copy, content: Content) -> ReadyMail:
    """The mail, ready to be handed over: the same, word for word, as `rendering.message` makes.

    Raises what the templates would raise, for a text that no mail can hold.
    """
    assert digest.subscriber is not None, "a digest without a reader has no mail"
    laid_out = _laid_out(content)
    html = laid_out.joined(HTML)
    if len(html) > rendering.MOST_BYTES and (shorter := content.shortened()) is not content:
        return message(digest, shorter)
    uuid = digest.uuid.hex
    message_id = mail.message_id(uuid, "digest")
    made = ReadyMail(
        subject=laid_out.subject,
        text=laid_out.joined(TEXT),
        html=html,
        from_email=settings.MAIL_FROM,
        to=digest.subscriber.email,
        message_id=message_id,
        headers=lambda: {**mail.own_headers(message_id), **rendering.headers(content)},
        wire=partial(_wire, laid_out=laid_out, uuid=uuid),
    )
    # Providers give it back with every event, which settles a digest in doubt.
    made.metadata = {"digest": uuid}  # type: ignore[attr-defined]
    return made


def prepare(contents: Iterable[Content]) -> None:
    """Casts in one rendering for each language what these mails show and nobody has cast yet.

    Nothing depends on it: what is missing is cast with the first mail that shows it.
    """
    missing: dict[tuple[str, bool], _Missing] = {}
    site = _site()
    for content in contents:
        kind = (content.language, bool(content.read_key))
        found = missing.setdefault(kind, _Missing(content, {}, {}))
        forms = _forms(site, content.language)
        for item in (*content.full, *content.picks):
            form = forms.own(item)
            if form not in item.shown.kept:
                found.own[id(item.shown), form] = item
        for item in content.brief:
            if forms.brief not in item.shown.kept:
                found.brief[id(item.shown), forms.brief] = item
    for found in missing.values():
        own, brief = tuple(found.own.values()), tuple(found.brief.values())
        if own or brief:
            _, moulds = _cast(replace(found.like, full=own, picks=(), brief=brief))
            for (_, form), item, mould in zip(found.own, own, moulds, strict=False):
                item.shown.kept[form] = mould
            for (_, form), item, mould in zip(found.brief, brief, moulds[len(own) :], strict=True):
                item.shown.kept[form] = _whole(mould)


# -- what pieces are -----------------------------------------------------------------------


class Piece(NamedTuple):
    """A finished stretch of both parts: as it reads, in UTF-8, and as it is encoded."""

    html: bytes
    html_wire: bytes
    text: bytes
    text_wire: bytes


HTML, HTML_WIRE, TEXT, TEXT_WIRE = range(4)
_NOTHING = Piece(b"", b"", b"", b"")


class Cast(NamedTuple):
    """A paper's bytes with holes for the reader's key, and one for the reason.

    parts: the key stands between each two. The reason stands in the one of number `reason_in`,
    between `before` and `after`; -1: nowhere.
    """

    parts: Sequence[bytes]
    reason_in: int = -1
    before: bytes = b""
    after: bytes = b""

    def fill(self, key: bytes, reason: bytes) -> bytes:
        if self.reason_in < 0:
            return key.join(self.parts)
        parts = [*self.parts]
        parts[self.reason_in] = b"".join((self.before, reason, self.after))
        return key.join(parts)


class Mould(NamedTuple):
    """The same with holes."""

    html: Cast
    html_wire: Cast
    text: Cast
    text_wire: Cast


@dataclass(frozen=True, slots=True)
class Sheet:
    """The mail around its words and papers. parts: every second one is a hole, empty here.
    holes: of the words (`_WORDS_OF_A_MAIL`, then the topics) and the papers after them, what
    stands in each.
    """

    parts: Sequence[bytes]
    holes: Callable[[Sequence[bytes]], Sequence[bytes]]

    def fill(self, values: Sequence[bytes]) -> bytes:
        parts = [*self.parts]
        parts[1::2] = self.holes(values)
        return b"".join(parts)


@dataclass(slots=True)
class _Strip:
    """A text taken apart: literals, with the names of the holes between them."""

    literals: list[str] = field(default_factory=list)
    holes: list[Hashable] = field(default_factory=list)


class _Missing(NamedTuple):
    """Items without a mould, each once, and a mail of the kind that shows them."""

    like: Content
    own: dict[tuple[int, object], ContentItem]
    brief: dict[tuple[int, object], ContentItem]


@dataclass(frozen=True)
class _Shell:
    """sheets: by channel. blank: the mail around its parts."""

    sheets: Sequence[Sheet]
    blank: Mail

    @cached_property
    def envelope(self) -> Sheet:
        """What Django and Python write around the words and the parts. Raises what they raise:
        not before a mail is to be written, for a wrong MAIL_FROM is no fault of its words.

        The boundary between the parts holds a `==`, which nothing that is encoded does.
        """
        written = self.blank.message().as_bytes(linesep="\r\n").decode("ascii")
        strip, _ = _taken_apart(written, regions=frozenset())
        names = (*_HEADERS, "subject", _UNSUBSCRIBE)
        return _sheet([literal.encode() for literal in strip.literals], strip.holes, names)


@dataclass(frozen=True, slots=True)
class _LaidOut:
    """Everything that a mail is joined of, each in the order of its holes.

    words: by channel. own: the papers with a reason and keys, brief: those without.
    """

    subject: str
    shell: _Shell
    words: Sequence[Sequence[bytes]]
    own: Sequence[tuple[Mould, Piece]]
    brief: Sequence[Sequence[bytes]]

    def joined(self, channel: int) -> bytes:
        words = self.words[channel]
        key = words[_READ_AT]
        own = [mould[channel].fill(key, reason[channel]) for mould, reason in self.own]
        return self.shell.sheets[channel].fill((*words, *own, *self.brief[channel]))


def _wire(ready: ReadyMail, *, laid_out: _LaidOut, uuid: str) -> bytes:
    return laid_out.shell.envelope.fill(
        (
            uuid.encode(),
            _to_header(ready.to),
            _date(int(time.time()), settings.EMAIL_USE_LOCALTIME),
            laid_out.joined(TEXT_WIRE).removesuffix(SOFT_BREAK),
            laid_out.joined(HTML_WIRE).removesuffix(SOFT_BREAK),
            _subject_header(str(ready.subject)),
            laid_out.words[HTML][_UNSUBSCRIBE_AT],
        )
    )


# -- laying out ----------------------------------------------------------------------------


_shells: Recent[tuple[Any, ...], _Shell] = Recent(SHELLS_KEPT)
_shell_facts = attrgetter(
    "language", "site_name", "edition_day", "slot_date", "is_first", "is_weekly", "since"
)


def _laid_out(content: Content) -> _LaidOut:
    site = _site()
    is_everybodys = content.is_everybodys
    shell, own, brief = _moulds(content, site, is_everybodys)
    subject, preheader = content.headings
    said = (
        _in_html(subject),
        _piece_in_html(preheader),
        _key(content.read_key),
        _key(content.manage_key),
        _key(content.unsubscribe_key),
        _count(content, is_everybodys),
        _sentence(content.language, "emails/_consented.html", _CONSENTED,
                  (content.site_name, content.consented_on)),
        _sentence(content.language, "emails/_cadence.html", _CADENCE, (content.cadence_words,)),
        _sentence(content.language, "emails/_next.html", _NEXT, (content.next_on,)),
        *(_topic(group.topic) for group in content.groups if group.topic),
    )  # fmt: skip
    shown = (*content.full, *content.picks)
    reasons = [_reason(content.language, item.reason) for item in shown]
    return _LaidOut(
        subject,
        shell,
        tuple(zip(*said, strict=True)),
        tuple(zip(own, reasons, strict=True)),
        tuple(zip(*brief, strict=True)) or _NOTHING_IN_BRIEF,
    )


_CONSENTED, _CADENCE, _NEXT = ("site_name", "consented_on"), ("cadence_words",), ("next_on",)
_COUNT = ("is_picks_alone", "is_everybodys", "chosen_count", "candidates_count")
_NOTHING_IN_BRIEF = ((), (), (), ())


def _count(content: Content, is_everybodys: bool) -> Piece:
    facts = (
        content.is_picks_alone, is_everybodys, content.chosen_count, content.candidates_count
    )  # fmt: skip
    return _sentence(content.language, "digest/_count.html", _COUNT, facts)


def _moulds(
    content: Content, site: Hashable, is_everybodys: bool
) -> tuple[_Shell, Sequence[Mould], Sequence[Piece]]:
    """The shell, the own papers' moulds and the others' pieces; one rendering makes all that are
    missing.
    """
    shell_key = (site, _shape(content), _shell_facts(content), is_everybodys)
    shell = _shells.get(shell_key)
    forms = _forms(site, content.language)
    shown = (*content.full, *content.picks)
    wanted = [forms.own(item) for item in shown]
    own: list[Any] = [item.shown.kept.get(form) for item, form in zip(shown, wanted, strict=True)]
    brief: list[Any] = [item.shown.kept.get(forms.brief) for item in content.brief]
    if shell is not None and None not in own and None not in brief:
        return shell, own, brief
    shell, made = _cast(content)
    _shells.put(shell_key, shell)
    own, brief = made[: len(shown)], [_whole(mould) for mould in made[len(shown) :]]
    for item, form, mould in zip(shown, wanted, own, strict=True):
        item.shown.kept[form] = mould
    for item, piece in zip(content.brief, brief, strict=True):
        item.shown.kept[forms.brief] = piece
    return shell, own, brief


class _Forms(NamedTuple):
    """Under what a paper's moulds are kept. Each an object, which is found faster than facts."""

    brief: object
    by_facts: Sequence[object]

    def own(self, item: ContentItem) -> object:
        return self.by_facts[2 * (item.reason is not None) + (item.key != "")]


@lru_cache(maxsize=250)
def _forms(site: Hashable, language: str) -> _Forms:
    return _Forms(object(), [object() for _ in range(4)])


def _shape(content: Content) -> tuple[Hashable, ...]:
    """How many items of each kind, and what is said or offered at all."""
    groups = content.groups if content.is_of_many_days else ()
    return (
        len(content.full), len(content.picks), len(content.brief), content.left_out,
        *((bool(group.topic), len(group.items)) for group in groups),
        content.consented_on is None, not content.cadence_words, content.next_on is None,
        not content.read_key, not content.manage_key, not content.unsubscribe_key,
    )  # fmt: skip


def _site() -> tuple[Any, ...]:
    """All settings that a mail shows."""
    return _shown_settings(settings)


_shown_settings = attrgetter(
    "SITE_NAME", "SITE_URL", "SITE_HOST", "LOGO_TEXT", "BRAND_COLOR", "BRAND_COLOR_DARK",
    "FOOTER_TEXT", "POSTAL_ADDRESS", "MAIL_FROM", "LIST_ID", "UNSUBSCRIBE_MAILTO",
)  # fmt: skip


# -- casting -------------------------------------------------------------------------------


def _cast(content: Content) -> tuple[_Shell, list[Mould]]:
    """The mail at hand by the templates, taken apart: its shell, and a mould of each item."""
    marked = replace(
        content,
        full=tuple(_marked(item) for item in content.full),
        picks=tuple(_marked(item) for item in content.picks),
        read_key=content.read_key and _MARKS[_READ],
        manage_key=content.manage_key and _MARKS[_MANAGE],
        unsubscribe_key=content.unsubscribe_key and _MARKS[_UNSUBSCRIBE],
    )
    message_id = mail.message_id(_MARKS["uuid"], "digest")
    with translation.override(content.language):
        made = rendering.composed(marked, to=_MARKS["to"], message_id=message_id, cut=_MARKS)
    html, html_items = _taken_apart(str(made.alternatives[0][0]))
    text, text_items = _taken_apart(str(made.body))
    moulds = [Mould(*_casts(*parts)) for parts in zip(html_items, text_items, strict=True)]
    headings = [hole for hole in html.holes if isinstance(hole, _Heading)]
    names = (*_WORDS_OF_A_MAIL, *headings, *range(len(moulds)))
    sheets = [
        _sheet(literals, strip.holes, names)
        for strip in (html, text)
        for literals in _in_bytes(strip)
    ]
    return _Shell(sheets, _blank(made)), moulds


def _marked(item: ContentItem) -> ContentItem:
    return item._replace(key=item.key and _MARKS[_READ])


def _blank(made: EmailMultiAlternatives) -> Mail:
    """The same mail with a mark for everything that is its reader's or its hour's."""
    headers = {**made.extra_headers, "Date": _MARKS["date"]}
    blank = Mail(_MARKS["subject"], _MARKS["text"], made.from_email, made.to, headers=headers)
    blank.attach_alternative(_MARKS["html"], "text/html")
    return blank


def _taken_apart(text: str, regions: frozenset[str] = _REGIONS) -> tuple[_Strip, list[_Strip]]:
    """The text with holes where the marks are; its items, which are holes by their number; and
    its topics are by theirs.

    A region lies between two marks of its name. Only an item's is kept; what else lies in one is
    the mail's own.
    """
    first, *rest = _MARK.split(text)
    whole = _Strip([first])
    strips = [whole]
    items: list[_Strip] = []
    inside: list[str] = []
    for code, literal in zip(rest[::2], rest[1::2], strict=True):
        name = _NAMES[int(code)]
        if inside and inside[-1] == name:
            inside.pop()
            strips.pop()
        else:
            strips[-1].holes.append(_hole(name, len(items), whole.holes))
            if name in regions:
                inside.append(name)
                strips.append(_Strip())
                items += [strips[-1]] if name == "item" else []
        strips[-1].literals.append(literal)
    return whole, items


class _Heading(NamedTuple):
    """The hole of a topic's name, by its number."""

    number: int


def _hole(name: str, items: int, before: Sequence[Hashable]) -> Hashable:
    if name == "heading":
        return _Heading(sum(isinstance(hole, _Heading) for hole in before))
    return items if name == "item" else name


def _casts(*strips: _Strip) -> list[Cast]:
    return [_as_cast(literals, strip.holes) for strip in strips for literals in _in_bytes(strip)]


def _in_bytes(strip: _Strip) -> tuple[list[bytes], list[bytes]]:
    """Its literals as they read, and as they are encoded."""
    plain = [literal.encode() for literal in strip.literals]
    return plain, [quoted(literal) for literal in strip.literals]


def _as_cast(literals: Sequence[bytes], holes: Sequence[Hashable]) -> Cast:
    if unknown := set(holes) - {"reason", _READ}:
        raise ValueError(f"a paper is shown with what is not its own: {unknown}")
    if "reason" not in holes:
        return Cast(tuple(literals))
    at = holes.index("reason")
    before, after = literals[at : at + 2]
    return Cast((*literals[:at], b"", *literals[at + 2 :]), at, before, after)


def _whole(mould: Mould) -> Piece:
    """Of what has no hole."""
    return Piece(*(cast.fill(b"", b"") for cast in mould))


def _sheet(
    literals: Sequence[bytes], holes: Sequence[Hashable], names: Sequence[Hashable]
) -> Sheet:
    parts = [b""] * (2 * len(holes) + 1)
    parts[::2] = literals
    return Sheet(parts, itemgetter(*(names.index(hole) for hole in holes)))


# -- words ---------------------------------------------------------------------------------


@lru_cache(maxsize=5000)
def _sentence(
    language: str, template: str, facts: tuple[str, ...], values: tuple[object, ...]
) -> Piece:
    """A sentence that few values decide: the template is given these, and nothing else."""
    context = {"content": dict(zip(facts, values, strict=True)), "words": template}
    with translation.override(language):
        return _piece(_alone(context), render_to_string("emails/_line.txt", context))


def _reason(language: str, reason: ShownReason | None) -> Piece:
    if reason is None:
        return _NOTHING
    piece: Piece | None = reason.kept.get(language)
    if piece is None:
        piece = reason.kept[language] = _reason_in_words(
            language, reason.kind, reason.upvotes,
            reason.topic, reason.terms, reason.name, reason.title, reason.note,
        )  # fmt: skip
    return piece


def _reason_in_words(
    language: str, kind: str, upvotes: int, *words: str | tuple[str, ...]
) -> Piece:
    there = {
        name: word if isinstance(word, str) else ", ".join(word)
        for name, word in zip(_WORDS, words, strict=True)
        if word
    }
    html, text = _reason_shape(language, kind, upvotes, frozenset(there))
    in_html = {name: _escaped(word) for name, word in there.items()}
    return _piece(_filled(html, in_html), _wrapped(_filled(text, there)))


@lru_cache(maxsize=1000)
def _reason_shape(
    language: str, kind: str, upvotes: int, there: frozenset[str]
) -> tuple[_Strip, _Strip]:
    """How such a reason is said, in HTML and as text, around the words that are there."""
    words: dict[str, Any] = {name: _MARKS[name] for name in there}
    if "terms" in there:
        words["terms"] = (_MARKS["terms"],)
    context = {"reason": Reason(kind, upvotes=upvotes, **words), "words": "emails/_reason.html"}
    with translation.override(language):
        html, text = _alone(context), render_to_string("emails/_reason.txt", context)
    return _taken_apart(html, frozenset())[0], _taken_apart(text, frozenset())[0]


def _alone(context: Mapping[str, Any]) -> str:
    """What the template that `words` names says in a mail's HTML, escaped as the inliner does."""
    page = render_to_string("emails/_alone.html", {**context, "cut": _MARKS})
    return mail.inline_css(page).split(_MARKS["alone"])[1]


def _filled(strip: _Strip, words: Mapping[Any, str]) -> str:
    parts = [""] * (2 * len(strip.holes) + 1)
    parts[::2] = strip.literals
    parts[1::2] = [words[hole] for hole in strip.holes]
    return "".join(parts)


def _escaped(words: str) -> str:
    """As the inliner writes a text anew (HTML standard, 13.3: serialising fragments)."""
    words = words.replace("&", "&amp;").replace("\xa0", "&nbsp;")
    return words.replace("<", "&lt;").replace(">", "&gt;")


def _wrapped(text: str, width: int = LINE_CHARACTERS) -> str:
    """What the templates' `wordwrap` makes of one line; all but strange ones without its pains."""
    if not text.isprintable() or "  " in text or text[:1] == " " or text[-1:] == " ":
        return wrap(text, width)
    lines = []
    while len(text) > width:
        end = text.rfind(" ", 0, width + 1)
        if end < 0:
            end = text.find(" ", width)
        if end < 0:
            break
        lines.append(text[:end])
        text = text[end + 1 :]
    return "\n".join([*lines, text])


# -- bytes ---------------------------------------------------------------------------------


def _piece(html: str, text: str) -> Piece:
    return Piece(html.encode(), quoted_words(html), text.encode(), quoted_words(text))


def _piece_in_html(words: str) -> Piece:
    said = _escaped(words)
    return Piece(said.encode(), quoted_words(said), b"", b"")


_in_html = lru_cache(maxsize=5000)(_piece_in_html)  # of subjects, which many mails share


@lru_cache(maxsize=5000)
def _topic(name: str) -> Piece:
    return _piece(_escaped(capfirst(name)), _wrapped(name.upper()))


def _key(key: str) -> Piece:
    """A key needs no care (see subscribers.tokens), but for its length."""
    plain = key.encode()
    encoded = plain + SOFT_BREAK if 0 < len(plain) <= ENCODED_CHARACTERS else quoted(key)
    return Piece(plain, encoded, plain, encoded)


def quoted_words(words: str) -> bytes:
    """The same as `quoted`, by C, for the many words that need none of its care: in b2a_qp a line
    may begin with a dot, and the last one leave no place for a soft break.
    """
    encoded = b2a_qp(words.encode())
    last = len(encoded) - encoded.rfind(b"\n") - 1
    if last > ENCODED_CHARACTERS or encoded[:1] == b"." or b"\n." in encoded or b"\r" in encoded:
        return quoted(words)
    lines = encoded.replace(b"\n", b"\r\n")
    return lines + SOFT_BREAK if last else lines


def quoted(text: str) -> bytes:
    """Quoted-printable (RFC 2045, 6.7), from the beginning of a line on, ending in a line break:
    a soft one where the text does not.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    whole = "".join(f"{_quoted_line(line, is_ended=True)}\r\n" for line in lines[:-1])
    rest = _quoted_line(lines[-1], is_ended=False)
    return (f"{whole}{rest}=\r\n" if rest else whole).encode("ascii")


def _quoted_line(line: str, *, is_ended: bool) -> str:
    rest = line.encode().decode("latin-1").translate(_QUOTED)
    if is_ended and rest[-1:] in (" ", "\t"):
        rest = f"{rest[:-1]}={ord(rest[-1]):02X}"
    done: list[str] = []
    while True:
        if rest.startswith("."):
            rest = f"=2E{rest[1:]}"
        if len(rest) <= ENCODED_CHARACTERS:
            return "=\r\n".join([*done, rest])
        # Not within an `=XX`.
        end = rest.rfind("=", ENCODED_CHARACTERS - 2, ENCODED_CHARACTERS)
        end = ENCODED_CHARACTERS if end < 0 else end
        done.append(rest[:end])
        rest = rest[end:]


# -- headers -------------------------------------------------------------------------------


@lru_cache(maxsize=5000)
def _subject_header(subject: str) -> bytes:
    """As it stands where it is ASCII, folded at blanks; else in encoded words (RFC 2047)."""
    if "\n" in subject or "\r" in subject or len(subject) > rendering.SUBJECT_CHARACTERS + 1:
        return _by_django("Subject", subject)
    if subject.isascii():
        return _wrapped(subject, SUBJECT_CHARACTERS).replace("\n", "\r\n ").encode()
    return b"\r\n ".join(
        b"=?utf-8?b?" + b2a_base64(chunk, newline=False) + b"?=" for chunk in _chunks(subject)
    )


def _chunks(text: str) -> Iterable[bytes]:
    """In UTF-8, at most WORD_BYTES each, every one of them whole characters."""
    encoded = text.encode()
    start = 0
    while start < len(encoded):
        end = min(start + WORD_BYTES, len(encoded))
        while end < len(encoded) and encoded[end] & 0xC0 == 0x80:
            end -= 1
        yield encoded[start:end]
        start = end


def _to_header(to: Sequence[str]) -> bytes:
    address = ", ".join(to)
    if _PLAIN_ADDRESS.fullmatch(address):
        return address.encode()
    return _by_django("To", address)


def _by_django(name: str, value: str) -> bytes:
    """Whatever is out of the ordinary. Raises ValueError (BadHeaderError) where it is none."""
    _, value = forbid_multi_line_headers(name, value, settings.DEFAULT_CHARSET)
    return value.replace("\n", "\r\n").encode("ascii")


@lru_cache(maxsize=4)
def _date(seconds: int, is_local: bool) -> bytes:
    return formatdate(seconds, localtime=is_local).encode()
