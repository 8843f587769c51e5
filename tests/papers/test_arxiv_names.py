from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papers.records import MAX_NAMES
from papers.sources.arxiv_names import MAX_NAME_LENGTH, is_withdrawn, letters, split_names


@pytest.mark.parametrize(
    ("tex", "name"),
    [
        (r"M\"uller", "Müller"),
        (r"M\"{u}ller", "Müller"),
        (r"M{\"u}ller", "Müller"),
        (r"Jos\'e Garc\'{\i}a", "José García"),
        (r"V\^\ilcu", "Vîlcu"),
        (r"Matou\v{s}ek", "Matoušek"),
        (r"Matou\vsek", "Matoušek"),
        (r"Ji\vrí", "Jiří"),
        (r"\v Reh{\ru}\v{r}ek", "Řehůřek"),
        (r"Erd\H{o}s", "Erdős"),
        (r"Fran\c{c}ois \c Cel", "François Çel"),
        (r"S{\o}ren {\AA}berg", "Søren Åberg"),
        (r"\L{}ukasz Wei\ss{}", "Łukasz Weiß"),
        (r"\L ukasz", "Łukasz"),
        (r"Letr{é}my", "Letrémy"),
        ("J.~Smith", "J. Smith"),
        (r"S\~ao Nu\~nez", "São Nuñez"),
        ("O'Brient", "O'Brient"),
        (r"$\alpha$ \Group \cite{me}", r"$\alpha$ \Group \citeme"),
    ],
)
def test_tex_accents_become_letters_where_that_is_plain(tex, name):
    assert letters(tex) == name


@settings(deadline=None)
@given(st.sampled_from("`'^~=.\"urHvdckb"), st.sampled_from("aeinouszcrlyAEIOUSZCR"))
def test_an_accent_is_one_letter_or_stays_as_it_is(accent, base):
    tex = rf"\{accent}{{{base}}}"

    assert letters(tex) == rf"\{accent}{base}" or (
        len(letters(tex)) == 1 and unicodedata.normalize("NFD", letters(tex))[0] == base
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Fabien Polly", ["Fabien Polly"]),
        ("A. Example, B. Sample and C. Third", ["A. Example", "B. Sample", "C. Third"]),
        ("A. Example, B. Sample, and C. Third", ["A. Example", "B. Sample", "C. Third"]),
        ("A. Example (1), B. Sample (1 and 2)", ["A. Example", "B. Sample"]),
        ("A. Example (Lab (West), Oslo, Norway), B. Sample", ["A. Example", "B. Sample"]),
        ("G. David Forney, Jr., Harry Hunt III", ["G. David Forney Jr.", "Harry Hunt III"]),
        ("Dup Example, III", ["Dup Example III"]),
        ("Physics and Astronomy Team, B. Sample", ["Physics and Astronomy Team", "B. Sample"]),
        ("Example Collaboration: A. Example", ["Example Collaboration: A. Example"]),
        ("A. Example (unclosed, B. Sample", ["A. Example", "unclosed", "B. Sample"]),
        ("Sandy Anderson", ["Sandy Anderson"]),
        ("Malcolm X, Louis V", ["Malcolm X", "Louis V"]),
        (" , :, ", []),
        ("", []),
    ],
)
def test_a_list_of_names_in_one_string_is_parted(text, found):
    assert list(split_names(text)) == found


@settings(deadline=None)
@given(st.lists(st.text(st.characters(categories=["Lu", "Ll"]), min_size=5, max_size=12)))
def test_joined_names_part_again(given_names):
    parted = split_names(", ".join(given_names))

    assert parted == tuple(name for name in given_names if name.strip())


@pytest.mark.parametrize(
    "hostile",
    [
        "(" * 300_000, "{" * 300_000, "\\v " * 100_000, "and " * 100_000, "(a" * 150_000,
        "Ada, " + "jr," * 400_000,
    ],
)  # fmt: skip
def test_no_list_of_names_takes_long(hostile):
    began = time.process_time()

    found = split_names(hostile + ", Ada Example")

    assert time.process_time() - began < 5
    assert len(found) <= MAX_NAMES
    assert all(len(name) <= MAX_NAME_LENGTH for name in found)


@pytest.mark.parametrize(
    "note",
    [
        "This paper has been withdrawn",
        "This paper has been withdrawn by the author due to a crucial sign\n  error in derivation",
        "The paper is withdrawn from Arxiv due to a gap in the proof of Lemma\n  2",
        "Withdrawn",
        "Withdrawn: the construction in section 5 contains a flaw",
        "[Withdrawn by the authors]",
        "This paper has been temporarily withdrawn by the author(s)",
        "12 pages. This submission has been retracted by arXiv administration",
        "We show much. This article was withdrawn by its author.",
    ],
)
def test_a_withdrawal_is_understood(note):
    assert is_withdrawn(note)
    assert is_withdrawn("", note)


@pytest.mark.parametrize(
    "note",
    [
        "12 pages, 3 figures",
        "",
        "This paper has been withdrawn from ICML and is under review elsewhere",
        "An earlier version of this paper was withdrawn",
        "Published version; their retractability is discussed",
        "We study why papers are withdrawn from journals.",
        "Replaces the withdrawn arXiv:1102.1122",
        "Money withdrawn at machines is counted.",
    ],
)
def test_what_only_speaks_of_withdrawals_is_none(note):
    assert not is_withdrawn(note)
