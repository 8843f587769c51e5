"""The catalogues hold every text there is, whole, in every language; and dates have their forms."""

from __future__ import annotations

import re
from importlib import import_module

import pytest
from babel.messages.catalog import Catalog, Message
from django.conf import settings

from config import messages
from config.environment import LANGUAGES_OFFERED

PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[sd%]|\{\w*\}|</?[a-z]+[^>]*>")
every_language = pytest.mark.parametrize("language", messages.languages())


@pytest.fixture(scope="module")
def texts() -> Catalog:
    return messages.template()


def known(language: str) -> list[Message]:
    return [message for message in messages.catalogue(language) if message.id]


def forms(text: object) -> list[str]:
    return [str(form) for form in text] if isinstance(text, tuple | list) else [str(text)]


def test_every_language_but_english_has_a_catalogue():
    assert {*messages.languages(), "en"} == {*LANGUAGES_OFFERED}


@every_language
def test_the_catalogue_holds_the_texts_there_are_and_no_other(language, texts):
    """Red? `make messages`, then translate what is new."""
    assert {(m.id, m.context) for m in known(language)} == {
        (m.id, m.context) for m in texts if m.id
    }
    kept = messages._path(language, "po").read_bytes()
    assert messages.as_po(messages.updated(language, texts)) == kept


@every_language
def test_the_compiled_catalogue_is_what_the_other_says(language):
    made = messages.as_mo(messages.catalogue(language))
    assert messages._path(language, "mo").read_bytes() == made


@every_language
def test_nothing_is_guessed_and_no_plural_is_half_said(language):
    number = messages.catalogue(language).num_plurals
    for message in known(language):
        assert not message.fuzzy, message.id
        if isinstance(message.id, tuple | list):
            assert len(message.string) == number, message.id
            assert len({bool(form) for form in message.string}) == 1, message.id


@every_language
def test_everything_is_translated(language):
    """In every plural form; the operator's desk too."""
    assert [m.id for m in known(language) if not messages.is_translated(m)] == []


@every_language
def test_translations_keep_placeholders_and_tags(language):
    for message in filter(messages.is_translated, known(language)):
        wanted = [sorted(PLACEHOLDER.findall(form)) for form in forms(message.id)]
        for form in forms(message.string):
            assert sorted(PLACEHOLDER.findall(form)) in wanted, message.id


@every_language
def test_translations_end_and_quote_as_the_text_does(language):
    """A full stop too few, a blank too many: seen by readers, and by no other test."""
    for message in filter(messages.is_translated, known(language)):
        text, said = forms(message.id)[-1], forms(message.string)[-1]
        assert said == said.strip(), message.id
        for end in ".:?!":
            assert text.endswith(end) == said.endswith(end), message.id
        if language == "de":
            assert not re.search(r"[“”]", said.replace("“", "", said.count("„"))), message.id


def test_a_text_in_a_template_is_found_with_its_context_and_its_plural(texts):
    assert texts.get("Save", context="a paper") is not None
    assert texts.get("%(shown)s upvote").id == ("%(shown)s upvote", "%(shown)s upvotes")
    assert texts.get("before the last weekday of several") is None


@pytest.mark.parametrize("language", [*LANGUAGES_OFFERED, "ar"])
def test_dates_have_all_their_forms_in_every_language(language):
    (package,) = settings.FORMAT_MODULE_PATH
    english, other = (
        {name for name in dir(import_module(f"{package}.{code}.formats")) if name.isupper()}
        for code in ("en", language)
    )
    assert english == other


def test_one_singular_with_two_plurals_is_refused_by_name(tmp_path, monkeypatch):
    """A catalogue has room for one, and one of the two places would say the other's."""
    for name, plural in [("one", "%(n)s papers."), ("two", "%(n)s papers, the best first.")]:
        (tmp_path / f"{name}.html").write_text(
            f"{{% blocktranslate count n=n %}}{{{{ n }}}} paper.{{% plural %}}{plural}"
            "{% endblocktranslate %}"
        )
    monkeypatch.setattr(messages, "_files", lambda: sorted(tmp_path.iterdir()))
    monkeypatch.setattr(messages, "BASE_DIR", tmp_path)
    with pytest.raises(ValueError, match=r"two.html.* has another plural"):
        messages.template()
