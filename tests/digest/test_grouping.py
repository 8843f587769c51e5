from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from digest.grouping import MOST_GROUPS, farthest_first, group
from papers.vectors import DocumentFrequencies, WordEncoder, bag

_WORDS = {
    "bees": "honey bees waggle dance nectar hive swarm pollen foraging colony queen",
    "ice": "glaciers melting ice sheet arctic sea level snow firn moraine crevasse",
    "chess": "chess engine endgame opening search pruning tablebase rating move player",
}
SUBJECTS = {name: words.split() for name, words in _WORDS.items()}


def library(*names: str, each: int, seed: int = 1) -> list[str]:
    """Titles of five words of their subject each, mixed."""
    rng = np.random.default_rng(seed)
    titles = [
        f"{' '.join(rng.choice(SUBJECTS[name], 5, replace=False))} of {name}"
        for name in names
        for _ in range(each)
    ]
    return [titles[place] for place in rng.permutation(len(titles))]


def grouped(texts: list[str], meanings: np.ndarray | None = None):
    encoder = WordEncoder(DocumentFrequencies.count([bag("an ordinary paper")] * 99))
    return group(texts, encoder.rows([encoder.encode(text) for text in texts]), meanings)


def test_papers_of_three_subjects_become_three_groups_named_after_them():
    texts = library("bees", "ice", "chess", each=12)
    groups = grouped(texts)
    assert len(groups) == 3
    about = [{texts[row].rpartition(" ")[2] for row in each.members} for each in groups]
    assert sorted(name for names in about for name in names) == ["bees", "chess", "ice"]
    for each, (subject,) in zip(groups, about, strict=True):
        terms = each.name.replace(",", "").split()
        assert len(terms) >= 3
        assert set(terms) <= {*SUBJECTS[subject], subject}


def test_a_few_papers_are_one_subject():
    groups = grouped(library("bees", "ice", each=3))
    assert [sorted(each.members) for each in groups] == [list(range(6))]


def test_few_papers_are_named_by_the_pair_of_words_that_most_of_them_have():
    (found,) = grouped(
        [
            "Sparse attention for long documents",
            "Kernels that make sparse attention quick",
            "Correcting models by trainable sparse attention",
            "Correcting models of long documents",
        ]
    )
    assert found.name.split(", ")[0] == "sparse attention"
    assert len(found.name.split(", ")) > 1


def test_what_fewer_than_half_say_names_a_group_only_where_half_agree_on_nothing():
    agreed = ["Bees dance", "Bees swarm", "Bees forage", "Queens forage", "Bees nest"]
    assert grouped(agreed)[0].name == "bees"
    strangers = ["Bees dance", "Ice melts", "Bees swarm", "Chess pays", "Kings fall"]
    assert grouped(strangers)[0].name == "bees"


def test_papers_like_no_others_are_the_rest():
    strangers = ["Mediaeval tax law in Flanders", "A grammar of Ubykh verbs"]
    groups = grouped(library("bees", "ice", each=20) + strangers)
    assert not any(each.is_rest for each in groups[:-1])
    named = {row for each in groups for row in each.members if not each.is_rest}
    assert len(named) >= 38


def test_meanings_part_what_shares_no_words():
    texts = [f"word{number} alone" for number in range(16)]
    meanings = np.zeros((16, 4), np.float32)
    meanings[:8, 0] = meanings[8:, 1] = 1
    assert [sorted(each.members) for each in grouped(texts, meanings)] == [
        list(range(8)),
        list(range(8, 16)),
    ]


@given(st.lists(st.sampled_from(" ".join(_WORDS.values()).split()), max_size=40))
@settings(max_examples=60, deadline=None)
def test_every_paper_is_in_exactly_one_group_and_always_in_the_same(words):
    texts = [f"{word} {words[0]}" if number % 3 else word for number, word in enumerate(words)]
    groups = grouped(texts)
    assert sorted(row for each in groups for row in each.members) == list(range(len(texts)))
    assert len([each for each in groups if not each.is_rest]) <= MOST_GROUPS
    assert [each.is_rest for each in groups] == sorted(each.is_rest for each in groups)
    assert grouped(texts) == groups


def test_texts_without_words_are_one_group():
    assert [each.members for each in grouped(["", "the", "…"] * 3)] == [tuple(range(9))]
    assert grouped([]) == []


def test_what_is_offered_is_unlike_and_begins_with_the_best_liked():
    near = np.eye(6)
    near[0, 1] = near[1, 0] = 0.9  # two that say the same
    near[0, 2] = near[2, 0] = 0.5
    liking = np.array([1.0, 0.9, 0.8, 0.3, 0.2, 0.1])
    assert farthest_first(near, liking, size=6) == [0, 3, 2, 4, 5]
    assert farthest_first(near, liking, size=2) == [0, 3]
    assert farthest_first(np.zeros((0, 0)), np.zeros(0), size=3) == []
