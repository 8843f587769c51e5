"""arXiv's three endpoints, in the recorded shapes: the feed, the query API since 2025, OAI-PMH."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import unquote
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

EASTERN = ZoneInfo("America/New_York")
XML = "<?xml version='1.0' encoding='UTF-8'?>\n"
_ID = re.compile(r"\d{4}\.\d{4,5}(v\d+)?|[a-z-]+(\.[A-Z]{2})?/\d{7}(v\d+)?")
_WINDOW = re.compile(r"submittedDate:\[(\d{12}) TO (\d{12})\]")
_NAMED = re.compile(r"cat:([\w.-]+)")


@dataclass(frozen=True)
class Submission:
    """A paper as arXiv has it, in its latest version."""

    number: int
    arxiv_id: str = ""
    version: int = 1
    title: str = ""
    abstract: str = ""
    authors: tuple[str, ...] = ("Ada Example", "Ben Sample")
    categories: tuple[str, ...] = ("cs.LG",)
    submitted: datetime = datetime(2026, 11, 20, 12, tzinfo=UTC)
    updated: datetime | None = None
    comment: str = ""
    announced_as: str = "new"  # cross, replace, replace-cross

    @property
    def id(self) -> str:
        return self.arxiv_id or f"2611.{self.number:05}"

    @property
    def name(self) -> str:
        return escape(self.title or f"Submission number {self.number}")

    @property
    def text(self) -> str:
        return escape(self.abstract or f"What submission {self.number} is about.")

    @property
    def changed(self) -> datetime:
        return self.updated or self.submitted


class ArXiv:
    """What it announced last, and every paper that it knows.

    is_strict: an error of the query API comes with HTTP 400, as since November 2025; else with 200.
    page_size: of OAI-PMH. is_behind: the query API says how many results there are and gives none.
    """

    def __init__(self) -> None:
        self.day = date(2026, 11, 23)
        self.announced: list[Submission] = []
        self.known: dict[str, Submission] = {}
        self.is_strict = True
        self.is_behind = False
        self.page_size = 1000
        self._expired: set[str] = set()
        self._given: set[str] = set()

    def announce(self, day: str, submissions: Sequence[Submission] = ()) -> None:
        """The feed from now on; what it has is known from now on, too."""
        self.day = date.fromisoformat(day)
        self.announced = list(submissions)
        self.submit(*submissions)

    def submit(self, *submissions: Submission) -> None:
        self.known |= {each.id: each for each in submissions}

    def withdraw(self, arxiv_id: str) -> Submission:
        """A new version says so; it is a replacement."""
        old = self.known[arxiv_id]
        gone = replace(
            old,
            version=old.version + 1,
            abstract="This paper has been withdrawn by the authors.",
            comment="This paper has been withdrawn",
            announced_as="replace",
        )
        self.submit(gone)
        return gone

    def expire_tokens(self) -> None:
        """As at midnight Eastern."""
        self._expired |= self._given

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes] | None:
        """Status and body; None where the path is not arXiv's."""
        if path.startswith("/rss/"):
            return 200, self._feed(unquote(path.removeprefix("/rss/")).split("+"))
        if path == "/api/query":
            return self._query(query)
        if path == "/oai":
            return 200, self._oai(query)
        return None

    # -- the feed --------------------------------------------------------------------------

    def _feed(self, names: Sequence[str]) -> bytes:
        made = format_datetime(
            datetime(self.day.year, self.day.month, self.day.day, tzinfo=EASTERN)
        )
        items = [_item(each, made) for each in self.announced if _is_in(each, names)]
        return f"""{XML}<rss xmlns:arxiv="http://arxiv.org/schemas/atom" \
xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:atom="http://www.w3.org/2005/Atom" \
xmlns:content="http://purl.org/rss/1.0/modules/content/" version="2.0">
  <channel>
    <title>{", ".join(names)} updates on arXiv.org</title>
    <link>http://rss.arxiv.org/rss/{"+".join(names)}</link>
    <description>{", ".join(names)} updates on the arXiv.org e-print archive.</description>
    <docs>http://www.rssboard.org/rss-specification</docs>
    <language>en-us</language>
    <lastBuildDate>{made}</lastBuildDate>
    <managingEditor>rss-help@arxiv.org</managingEditor>
    <pubDate>{made}</pubDate>
    <skipDays>
      <day>Sunday</day>
      <day>Saturday</day>
    </skipDays>
{"".join(items)}  </channel>
</rss>""".encode()

    # -- the query API ---------------------------------------------------------------------

    def _query(self, query: dict[str, str]) -> tuple[int, bytes]:
        start, most = int(query.get("start", 0)), int(query.get("max_results", 10))
        if ids := [each for each in query.get("id_list", "").split(",") if each]:
            if bad := next((each for each in ids if not _ID.fullmatch(each)), None):
                return (400 if self.is_strict else 200), _error(f"incorrect id format for {bad}")
            found = [self.known[each] for each in map(_canonical, ids) if each in self.known]
        else:
            found = self._submitted(query.get("search_query", ""))
        shown = [] if self.is_behind else found[start : start + most]
        return 200, _atom(shown, total=len(found), start=start)

    def _submitted(self, search: str) -> list[Submission]:
        window, names = _WINDOW.search(search), _NAMED.findall(search)
        if window is None:
            return []
        since, until = (datetime.strptime(each, "%Y%m%d%H%M") for each in window.groups())
        found = [
            each
            for each in self.known.values()
            if since <= each.submitted.replace(tzinfo=None) < until + timedelta(minutes=1)
            and _is_in(each, names)
        ]
        return sorted(found, key=lambda each: (each.submitted, each.id))

    # -- OAI-PMH ---------------------------------------------------------------------------

    def _oai(self, query: dict[str, str]) -> bytes:
        if query.get("verb") != "ListRecords":
            return _oai_error("badVerb", "Illegal verb")
        token = query.get("resumptionToken", "")
        if token:
            if token not in self._given or token in self._expired:
                return _oai_error("badResumptionToken", "Token expired")
            name, since, until, start = token.split("|")
        else:
            name, start = query.get("set", ""), "0"
            since, until = query.get("from", "1900-01-01"), query.get("until", "9999-12-31")
        found = sorted(
            (
                each
                for each in self.known.values()
                if since <= f"{each.changed:%Y-%m-%d}" <= until
                and (not name or any(_set_of(one).startswith(name) for one in each.categories))
            ),
            key=lambda each: (each.changed, each.id),
        )
        if not found:
            return _oai_error("noRecordsMatch", "The combination of values gives an empty list")
        first = int(start)
        end = first + self.page_size
        following = f"{name}|{since}|{until}|{end}" if end < len(found) else ""
        self._given |= {following} - {""}
        records = "\n".join(_oai_record(each) for each in found[first:end])
        tail = ""
        if first or following:
            tail = (
                f'<resumptionToken cursor="{first}" completeListSize="{len(found)}">'
                f"{following}</resumptionToken>"
            )
        return _oai_answer(f"<ListRecords>\n{records}\n{tail}\n</ListRecords>")


def _is_in(paper: Submission, names: Sequence[str]) -> bool:
    """`cs` stands for all of its categories."""
    return any(
        one == name or one.startswith(f"{name}.") for one in paper.categories for name in names
    )


def _canonical(name: str) -> str:
    """Without version and subject class."""
    return re.sub(r"^([a-z-]+)\.[A-Z]{2}/", r"\1/", re.sub(r"v\d+$", "", name))


def _set_of(category: str) -> str:
    return ":".join([category.partition(".")[0], *category.split(".")])


def _item(paper: Submission, made: str) -> str:
    categories = "".join(f"      <category>{name}</category>\n" for name in paper.categories)
    return f"""    <item>
      <title>{paper.name}</title>
      <link>https://arxiv.org/abs/{paper.id}</link>
      <description>arXiv:{paper.id}v{paper.version} Announce Type: {paper.announced_as} 
Abstract: {paper.text}</description>
      <guid isPermaLink="false">oai:arXiv.org:{paper.id}v{paper.version}</guid>
{categories}      <pubDate>{made}</pubDate>
      <arxiv:announce_type>{paper.announced_as}</arxiv:announce_type>
      <dc:rights>http://creativecommons.org/licenses/by/4.0/</dc:rights>
      <dc:creator>{escape(", ".join(paper.authors))}</dc:creator>
    </item>
"""  # noqa: W291 - as arXiv writes it


def _atom(papers: Sequence[Submission], *, total: int, start: int) -> bytes:
    return f"""{XML}<feed xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/" \
xmlns:arxiv="http://arxiv.org/schemas/atom" xmlns="http://www.w3.org/2005/Atom">
  <id>https://arxiv.org/api/bzYu+e+aYwtW3JHN2AoDsY8q0</id>
  <title>arXiv Query: search_query=&amp;id_list=&amp;start={start}</title>
  <updated>2026-11-23T07:00:00Z</updated>
  <link href="https://arxiv.org/api/query?start={start}" type="application/atom+xml"/>
  <opensearch:itemsPerPage>{len(papers)}</opensearch:itemsPerPage>
  <opensearch:totalResults>{total}</opensearch:totalResults>
  <opensearch:startIndex>{start}</opensearch:startIndex>
{"".join(map(_atom_entry, papers))}</feed>""".encode()


def _atom_entry(paper: Submission) -> str:
    categories = "".join(
        f'    <category term="{name}" scheme="http://arxiv.org/schemas/atom"/>\n'
        for name in paper.categories
    )
    authors = "".join(
        f"    <author>\n      <name>{escape(name)}</name>\n    </author>\n"
        for name in paper.authors
    )
    comment = (
        f"    <arxiv:comment>{escape(paper.comment)}</arxiv:comment>\n" if paper.comment else ""
    )
    return f"""  <entry>
    <id>http://arxiv.org/abs/{paper.id}v{paper.version}</id>
    <title>{paper.name}</title>
    <updated>{paper.changed:%Y-%m-%dT%H:%M:%SZ}</updated>
    <link href="https://arxiv.org/abs/{paper.id}v{paper.version}" rel="alternate" type="text/html"/>
    <link href="https://arxiv.org/pdf/{paper.id}v{paper.version}" rel="related" \
type="application/pdf" title="pdf"/>
    <summary>{paper.text}</summary>
{categories}    <published>{paper.submitted:%Y-%m-%dT%H:%M:%SZ}</published>
{comment}    <arxiv:primary_category term="{paper.categories[0]}"/>
{authors}  </entry>
"""


def _error(said: str) -> bytes:
    place = said.replace(" ", "_")
    return f"""{XML}<feed xmlns="http://www.w3.org/2005/Atom" \
xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/">
  <id>https://arxiv.org/api/kvuntZ8c9a4Eq5CF7KY03nMug+Q</id>
  <title>arXiv Query: search_query=&amp;id_list=</title>
  <updated>2026-11-23T07:00:00Z</updated>
  <opensearch:totalResults>1</opensearch:totalResults>
  <opensearch:startIndex>0</opensearch:startIndex>
  <opensearch:itemsPerPage>1</opensearch:itemsPerPage>
  <entry>
    <id>https://arxiv.org/api/errors#{escape(place)}</id>
    <title>Error</title>
    <summary>{escape(said)}</summary>
    <updated>2026-11-23T07:00:00Z</updated>
    <author>
      <name>arXiv api core</name>
    </author>
  </entry>
</feed>""".encode()


def _oai_record(paper: Submission) -> str:
    names = (name.rpartition(" ") for name in paper.authors)
    authors = "".join(
        f"<author><keyname>{escape(last)}</keyname><forenames>{escape(first)}</forenames></author>"
        for first, _blank, last in names
    )
    comments = f"<comments>{escape(paper.comment)}</comments>" if paper.comment else ""
    updated = f"<updated>{paper.updated:%Y-%m-%d}</updated>" if paper.updated else ""
    return f"""<record>
<header>
 <identifier>oai:arXiv.org:{paper.id}</identifier>
 <datestamp>{paper.changed:%Y-%m-%d}</datestamp>
 <setSpec>{_set_of(paper.categories[0])}</setSpec>
</header>
<metadata>
 <arXiv xmlns="http://arxiv.org/OAI/arXiv/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <id>{paper.id}</id><created>{paper.submitted:%Y-%m-%d}</created>{updated}\
<authors>{authors}</authors><title>{paper.name}</title>\
<categories>{" ".join(paper.categories)}</categories>{comments}\
<license>http://creativecommons.org/licenses/by/4.0/</license>\
<abstract>  {paper.text}
</abstract></arXiv>
</metadata>
</record>"""


def _oai_answer(inner: str) -> bytes:
    return f"""{XML}<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">
<responseDate>2026-11-23T07:00:00Z</responseDate>
<request verb="ListRecords">https://oaipmh.arxiv.org/oai</request>
{inner}
</OAI-PMH>
""".encode()


def _oai_error(code: str, said: str) -> bytes:
    return _oai_answer(f'<error code="{code}">{escape(said)}</error>')
