"""The documents against the code: what they name exists, and what exists is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import get_commands

PROJECT = Path(__file__).resolve().parent.parent
README = PROJECT / "README.md"
OWN_PACKAGES = {"papers", "subscribers", "digest"}
READS_THE_ENVIRONMENT = [
    PROJECT / "config" / "settings.py",
    PROJECT / "config" / "gunicorn.py",
    PROJECT / "digest" / "management" / "commands" / "up.py",
]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])


def settings_read() -> list[str]:
    """Every environment variable that the code asks for by name."""
    asked = re.compile(
        r"""(?:\benv(?:\.\w+)?\(|environ\.get\(|environ\[|_secret\()\s*"([A-Z_]+)\""""
    )
    return sorted(
        {name for file in READS_THE_ENVIRONMENT for name in asked.findall(file.read_text())}
    )


def own_commands() -> list[str]:
    return sorted(name for name, app in get_commands().items() if app in OWN_PACKAGES)


def relative_links(document: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    targets = re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", text)
    return [target for target in targets if not re.match(r"[a-z]+:|#", target)]


def test_the_code_is_searched_for_settings_with_success() -> None:
    assert {"SITE_URL", "SECRET_KEY", "DATABASE_URL", "ADMIN_PASSWORD"} <= set(settings_read())


@pytest.mark.parametrize("name", settings_read())
def test_every_setting_is_in_the_example_file(name: str) -> None:
    assert re.search(rf"^#?{name}=", (PROJECT / ".env.example").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", settings_read())
def test_every_setting_is_in_the_readme_s_table(name: str) -> None:
    assert re.search(rf"^\|.*`{name}`.*\|", README.read_text(), re.MULTILINE)


def test_the_example_file_names_no_setting_that_nobody_reads() -> None:
    named = re.findall(r"^#?([A-Z_]+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE)
    theirs = {name for name in named if name.startswith("ANYMAIL_")}
    assert set(named) - theirs <= set(settings_read())


@pytest.mark.parametrize("name", own_commands())
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"manage.py {name}" in README.read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", document.read_text()))
    assert named <= set(get_commands())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for target in relative_links(document):
        path, _, anchor = target.partition("#")
        assert (document.parent / path).exists(), target
        if anchor:
            assert anchor in _anchors((document.parent / path).read_text()), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_a_document_names_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^\s*|=\S+ )make ([a-z]+)", document.read_text(), re.MULTILINE))
    assert named <= targets


def _anchors(markdown: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
