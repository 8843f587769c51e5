from __future__ import annotations

import json

import numpy as np
import pytest

from papers import endpoint
from papers.vectors import ModelError
from tests.fakes.embeddings import PATH, EmbeddingServer


@pytest.fixture
def server(settings):
    settings.FETCH_TIMEOUT_SECONDS = 0.5
    with EmbeddingServer().running() as running:
        yield running


@pytest.fixture
def model(server):
    return endpoint.EndpointModel(server.url, "small", key="s3cret-key", dimensions=16)


def answer(*vectors: object) -> str:
    return json.dumps(
        {"data": [{"index": n, "embedding": vector} for n, vector in enumerate(vectors)]}
    )


def test_each_text_gets_its_own_vector_whatever_the_order_of_the_answer(server, model):
    texts = ["robots", "speech", "cups"]
    rows = model.encode(texts)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1)
    for text, row in zip(texts, rows, strict=True):
        assert row @ server.vector(text) == pytest.approx(np.linalg.norm(server.vector(text)))


def test_it_is_asked_as_openai_s_is(server, model):
    model.encode(["robots"])
    (request,) = server.requests
    assert request.path == PATH
    assert request.headers["Authorization"] == "Bearer s3cret-key"
    assert json.loads(request.body) == {
        "model": "small", "input": ["robots"], "encoding_format": "float",
    }  # fmt: skip


def test_an_address_may_end_with_its_version(server):
    model = endpoint.found(f"{server.url}/v1/", "small")
    assert model.dimensions == 16
    assert model.id == "small-16"
    assert "Authorization" not in server.requests[0].headers


def test_many_texts_go_in_several_requests_and_none_too_long(server, model, monkeypatch):
    monkeypatch.setattr(endpoint, "TEXTS_AT_ONCE", 2)
    monkeypatch.setattr(endpoint, "MOST_CHARACTERS", 6)
    assert model.encode(["robots", "speech and rooms", "cups"]).shape == (3, 16)
    assert server.asked == [["robots", "speech"], ["cups"]]


def test_no_texts_are_no_request(server, model):
    assert model.encode([]).shape == (0, 16)
    assert server.requests == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (answer([1.0] * 16), "1 vectors for 2 texts"),
        (answer([1.0] * 16, [1.0] * 15), "different length"),
        (answer([1.0] * 8, [1.0] * 8), "8 dimensions where it had 16: SEMANTIC_MODEL_NAME"),
        (answer([0.0] * 16, [1.0] * 16), "without a direction"),
        (answer([1e200] * 16, [1.0] * 16), "without a direction"),
        (answer(["much"] * 16, [1.0] * 16), "different length"),
        (answer([], []), "no or of different length"),
        ('{"data": [{"embedding": [1]}]}', "something else"),
        ('{"error": "no"}', "something else"),
        ("[1, 2]", "something else"),
        ("<html>", "something else"),
        ('{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}', "2 vectors"),
    ],
)
def test_an_answer_that_does_not_fit_is_told_in_words(server, model, body, said):
    server.answer_next(PATH, body.encode())
    with pytest.raises(ModelError, match=said):
        model.encode(["robots", "cups"])


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "SEMANTIC_API_KEY"),
        (404, "SEMANTIC_MODEL"),
        (400, "SEMANTIC_MODEL_NAME"),
        (500, "500"),
    ],
)
def test_a_refusal_names_the_setting_and_never_the_key(server, model, status, said):
    server.answer_next(PATH, b"{}", status=status)
    with pytest.raises(ModelError, match=said) as raised:
        model.encode(["robots"])
    assert "s3cret" not in str(raised.value)


def test_rest_that_is_asked_for_is_passed_on_and_not_waited_for(server, model):
    server.answer_next(PATH, b"{}", status=429, headers={"Retry-After": "7"})
    with pytest.raises(ModelError) as raised:
        model.encode(["robots"])
    assert raised.value.retry_after == 7
    assert len(server.requests) == 1


def test_one_that_hangs_is_left_after_its_time(server, model):
    server.answer_next(PATH, b"{}", delay_seconds=1)
    with pytest.raises(ModelError, match="no answer within"):
        model.encode(["robots"])


def test_one_that_is_away_is_an_error_of_the_model():
    with pytest.raises(ModelError, match="cannot reach"):
        endpoint.found("http://127.0.0.1:9", "small")
