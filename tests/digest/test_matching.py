"""An index finds what reading every paper would find."""

from __future__ import annotations

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from digest.matching import Matcher
from digest.profile import Rule, RuleKind
from papers import vectors
from tests.fakes.corpus import keyword, paper

WORDS = st.sampled_from(["robot", "Robots", "arm", "naïve", "state-of-the-art", "a", "x", "C++"])
PHRASES = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)
PAPERS = st.lists(
    st.builds(
        lambda title, abstract, keywords: paper(1, f"{title}\n{abstract}", keywords=keywords),
        PHRASES,
        PHRASES,
        st.lists(PHRASES, max_size=2).map(tuple),
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(PAPERS, PHRASES)
def test_a_phrase_is_found_wherever_its_words_stand_in_a_row(papers, phrase):
    wanted = vectors.phrase(phrase)
    read = {
        place
        for place, each in enumerate(papers)
        if any(wanted in vectors.phrase(p) for p in (each.title, each.abstract, *each.keywords))
    }
    assert Matcher(papers).places(keyword(phrase)) == read


CATEGORIES = st.lists(st.sampled_from(["cs", "CL", "", "stat"]), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(CATEGORIES.map(".".join), CATEGORIES.map(".".join))
def test_a_category_is_in_itself_and_in_those_above_it(wanted, category):
    matcher = Matcher([paper(1, categories=(category,))])
    is_in = f"{category}.".casefold().startswith(f"{wanted}.".casefold())
    assert bool(matcher.places(Rule(RuleKind.CATEGORY, wanted))) == is_in


def test_an_organization_is_found_by_whole_words_in_every_paper_that_names_it():
    papers = [paper(n, organization=name) for n, name in enumerate(["AI at Meta", "Metaphor", ""])]
    matcher = Matcher([*papers, papers[0]])
    assert matcher.places(Rule(RuleKind.ORGANIZATION, "META")) == {0, 3}
    assert matcher.places(Rule(RuleKind.ORGANIZATION, " ")) == frozenset()
