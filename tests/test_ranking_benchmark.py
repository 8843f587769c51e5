"""What measures the ranking: a judge that can be cheated, or that flatters one side, is none."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import expertise, libraries, methods, ranking, throughput, town
from benchmarks.libraries import Case, case_of
from benchmarks.measures import Tally, jackknife, judged, summary, wrong_pairs
from papers.vectors import Bag

SUBJECTS = ("robot arm grasp control", "protein folding enzyme structure", "galaxy star dust orbit")
PAPERS = 240


# -- small sets, in every format -----------------------------------------------------------


def write(path: Path, said: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\n".join(said).encode() + b"\n"))


def text_of(row: int, rng: random.Random, *, words: int) -> str:
    own = SUBJECTS[row % len(SUBJECTS)].split()
    return " ".join(rng.choice(own) if rng.random() < 0.6 else f"w{rng.randint(1, 60)}"
                    for _ in range(words))  # fmt: skip


def ids_of(row: int) -> str:
    return f"2501.{row:05}"


def day_of(row: int) -> str:
    return f"2025-{row // 25 + 1:02}-{row % 25 + 1:02}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Readers 0, 1, 2 … keep papers of one subject each, in order of day."""
    rng = random.Random(3)
    kept = {f"u{n}": list(range(n % 3, PAPERS, 3))[n : n + 20] for n in range(12)}
    papers = [
        {"id": ids_of(row), "title": f"On: {text_of(row, rng, words=5)}",
         "abstract": text_of(row, rng, words=20), "day": day_of(row),
         "up": None if row > 200 else row % 7}
        for row in range(PAPERS)
    ]  # fmt: skip
    hf = tmp_path / "recsys-hf-daily"
    write(hf / "papers.jsonl.gz", [json.dumps(paper) for paper in papers])
    by_id = [{"u": u, "items": [ids_of(row) for row in rows]} for u, rows in kept.items()]
    for who in ("authors", "submitters"):
        write(hf / f"{who}_dev.jsonl.gz", list(map(json.dumps, by_id)))
    for name in ("citeulike-a", "citeulike-t"):
        by_row = [{"u": int(u[1:]), "items": rows} for u, rows in kept.items()]
        write(tmp_path / name / "users_dev.jsonl.gz", list(map(json.dumps, by_row)))
    write(tmp_path / "citeulike-a" / "titles.txt.gz", [paper["title"] for paper in papers])
    write_counts(tmp_path / "citeulike-t", [paper["abstract"] for paper in papers])
    write_grades(tmp_path / "reviewer-gold", papers)
    return tmp_path


def write_counts(folder: Path, texts: list[str]) -> None:
    vocabulary = sorted({word for text in texts for word in text.split()})
    place = {word: n for n, word in enumerate(vocabulary)}
    said = []
    for text in texts:
        words = sorted(set(text.split()))
        cells = [f"{place[word]}:{text.split().count(word)}" for word in words]
        said.append(" ".join([str(len(cells)), *cells]))
    write(folder / "mult.dat.gz", said)
    write(folder / "vocabulary.txt.gz", vocabulary)


def write_grades(folder: Path, papers: list[dict]) -> None:
    """Researcher n knows subject n, and graded three papers of it high, three others low."""
    users = [
        {"u": str(n),
         "ratings": {ids_of(row): 5.0 if row % 3 == n else 1.0 + row % 2 for row in range(6)},
         "profiles": [[ids_of(row) for row in range(n + start, PAPERS, 9)] for start in (12, 15)]}
        for n in range(3)
    ]  # fmt: skip
    write(folder / "papers.jsonl.gz", [json.dumps({**p, "abstract": None}) for p in papers])
    write(folder / "users_dev.jsonl.gz", list(map(json.dumps, users)))


@pytest.fixture
def benchmark(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict]:
    def run(*words: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["ranking", f"--data={data}", "--json", *words])
        ranking.main()
        return json.loads(capsys.readouterr().out)

    return run


# -- sets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", libraries.SETS)
def test_on_every_set_what_reads_words_beats_chance_and_ours_is_among_them(
    benchmark: Callable[..., dict], name: str
) -> None:
    words = ("bm25", "rocchio", "svm", "ours")
    found = benchmark(f"--set={name}", "--methods", "random", *words, "--k", "5", "10")
    one = found["sets"][name]
    assert one["readers"] == 12
    for task in ("k=5", "k=10"):
        for method in words:
            assert one[task][method]["ndcg@10"]["mean"] > one[task]["random"]["ndcg@10"]["mean"]
            assert one[task][method]["cpu_ms"] >= 0
        assert one[task]["ours"]["cpu_ms_alone"] > one[task]["ours"]["cpu_ms"]


def test_whoever_is_known_by_a_line_is_ranked_for_by_what_it_says(
    benchmark: Callable[..., dict],
) -> None:
    one = benchmark("--set=hf-authors", "--line", "--k", "5")["sets"]["hf-authors"]
    assert set(one["line"]) == {"random", "bm25", "rocchio", "ours-words", "ours"}
    assert one["line"]["ours"]["mrr"]["mean"] > one["line"]["random"]["mrr"]["mean"]


def test_the_loss_is_low_for_who_orders_the_papers_as_the_researchers_do(
    benchmark: Callable[..., dict],
) -> None:
    found = benchmark("--set=reviewer-gold", "--methods", "random", "rocchio", "ours")
    one = found["sets"]["reviewer-gold"]["20 papers"]
    assert one["random"]["loss"] == {"mean": 0.5, "se": 0.0}
    assert one["ours"]["loss"]["mean"] < 0.25
    assert one["ours"]["above rocchio"]["mean"] == pytest.approx(
        one["ours"]["loss"]["mean"] - one["rocchio"]["loss"]["mean"], abs=2e-4
    )


def test_two_runs_say_the_same_and_another_seed_asks_something_else(
    benchmark: Callable[..., dict],
) -> None:
    words = ("--set=citeulike-a", "--methods", "rocchio", "--k", "5")
    figures = [benchmark(*words, f"--seed={seed}")["sets"] for seed in (7, 7, 8)]
    first, again, other = (each["citeulike-a"]["k=5"]["rocchio"]["ndcg@10"] for each in figures)
    assert first == again != other


@pytest.mark.parametrize("name", ["hf-authors", "citeulike-a", "reviewer-gold"])
def test_other_readers_of_the_set_are_asked_instead_of_its_own(
    benchmark: Callable[..., dict], tmp_path: Path, name: str
) -> None:
    rows = list(range(0, 60, 3))
    ids = list(map(ids_of, rows))
    ada = {"u": "ada", "items": rows if name == "citeulike-a" else ids}
    ada |= {"ratings": {ids[0]: 5, ids[1]: 2}, "profiles": [ids[2:]]}
    others = tmp_path / "others.jsonl"
    others.write_text(json.dumps(ada) + "\n")
    found = benchmark(f"--set={name}", "--methods", "ours", f"--users={others}")
    assert found["sets"][name]["readers"] == 1


def test_what_a_set_cannot_tell_is_left_out_and_why_is_said(
    benchmark: Callable[..., dict],
) -> None:
    one = benchmark("--set=reviewer-gold", "--methods", "popularity", "ours", "ours-semantic")
    left_out = one["sets"]["reviewer-gold"]["left out"]
    assert left_out["popularity"] == "the set has no votes"
    assert left_out["ours-semantic"] == "the set has no vectors of a sentence model"


# -- questions -----------------------------------------------------------------------------


def test_a_reader_of_dated_papers_is_asked_of_later_ones_and_known_by_earlier_ones(
    data: Path,
) -> None:
    collection = libraries.load("hf-authors", data, users=None, seed=1)
    days = collection.papers.days
    for library in collection.libraries:
        case = case_of(collection, library, k=5)
        assert list(case.known) == library.items[5:10]
        assert list(case.pool[case.is_kept]) == library.items[10:20]
        assert min(days[case.pool]) >= max(days[case.known])
        assert max(days[case.background]) <= days[case.known[-1]]


@pytest.mark.parametrize("name", ["citeulike-a", "citeulike-t"])
def test_five_known_papers_are_the_first_of_the_ten_and_the_pool_is_the_same(
    data: Path, name: str
) -> None:
    collection = libraries.load(name, data, users=None, seed=1)
    for library in collection.libraries:
        five, ten = (case_of(collection, library, k=k) for k in (5, 10))
        assert list(five.known) == list(ten.known[:5])
        assert list(five.pool) == list(ten.pool)
        kept = set(library.items)
        assert set(five.pool[five.is_kept]) < kept
        others = set(five.pool[~five.is_kept]) | set(five.background)
        assert others.isdisjoint(kept)
        assert set(five.pool).isdisjoint(ten.known)
        assert set(five.background).isdisjoint(five.pool)


def test_a_reader_s_own_library_does_not_make_a_paper_popular(data: Path) -> None:
    collection = libraries.load("citeulike-a", data, users=None, seed=1)
    case = case_of(collection, collection.libraries[0], k=5)
    scores = methods.by_popularity(methods.Lab(collection))(case)
    others = [set(each.items) for each in collection.libraries[1:]]
    assert list(scores) == [sum(row in items for items in others) for row in case.pool.tolist()]


def test_papers_of_unknown_votes_stand_in_the_middle(data: Path) -> None:
    votes = libraries.load("hf-authors", data, users=None, seed=1).votes
    assert set(votes[201:]) == {float(np.median([row % 7 for row in range(201)]))}


def test_counted_words_are_read_as_the_same_words_in_a_text_would_be(data: Path) -> None:
    papers = libraries.bare(data / "citeulike-t")
    texts = libraries.load("hf-authors", data, users=None, seed=1).papers.texts
    for row in (0, 1, 2):
        abstract = texts[row].split("\n")[1]
        whole = Bag.from_bytes(libraries.encoded([abstract], label="")[0])
        counts = dict(zip(whole.terms.tolist(), whole.counts.tolist(), strict=True))
        found = Bag.from_bytes(papers.codes[row])
        assert {term: counts[term] for term in found.terms.tolist()} == dict(
            zip(found.terms.tolist(), found.counts.tolist(), strict=True)
        )
        assert found.counts.sum() == len(abstract.split())


# -- judging -------------------------------------------------------------------------------


def case_with(*, kept: int, size: int, seed: int = 0) -> Case:
    nothing = np.zeros(0, np.int64)
    is_kept = np.arange(size) < kept
    ties = np.random.default_rng(seed).random(size)
    return Case(nothing, np.arange(size), nothing, is_kept, ties, np.zeros(size))


def test_who_knows_the_answer_gets_every_point_however_many_were_kept() -> None:
    for kept in (1, 3, 10):
        case = case_with(kept=kept, size=1000)
        assert judged(case.is_kept.astype(float), case.is_kept, case.ties) == (1.0, 1.0, 1.0)
    case = case_with(kept=20, size=1000)
    assert judged(case.is_kept.astype(float), case.is_kept, case.ties) == (1.0, 0.5, 1.0)


def test_a_hit_counts_less_further_down() -> None:
    is_kept = np.array([True] + [False] * 19)
    for place in range(12):
        scores = np.zeros(20)
        scores[0] = 20.0
        scores[1 : place + 1] = 30.0
        ndcg, recall, mrr = judged(scores, is_kept, np.arange(20.0))
        assert ndcg == pytest.approx(1 / np.log2(place + 2) if place < 10 else 0)
        assert (recall, mrr) == (float(place < 10), pytest.approx(1 / (place + 1)))


def test_equal_scores_are_worth_what_chance_is_worth_wherever_the_answer_stands() -> None:
    found = [
        judged(np.zeros(1000), case.is_kept, case.ties)
        for case in (case_with(kept=10, size=1000, seed=seed) for seed in range(3000))
    ]
    ndcg, recall, _ = np.mean(found, axis=0)
    assert ndcg == pytest.approx(10 / 1000, abs=0.0012)
    assert recall == pytest.approx(10 / 1000, abs=0.0012)


def test_the_difference_is_taken_reader_by_reader() -> None:
    rng = np.random.default_rng(1)
    svm = rng.random(400)
    better = svm + 0.01
    rows = {"svm": svm, "ours": better, "rocchio": svm}
    tallies = {name: Tally([(x, 0.0, 0.0) for x in each]) for name, each in rows.items()}
    found = summary(tallies)
    assert found["ours"]["above svm"] == {"mean": 0.01, "se": 0.0}
    assert found["ours"]["ndcg@10"]["se"] > 0.01
    assert found["rocchio"]["above svm"] == {"mean": 0.0, "se": 0.0}
    assert "above svm" not in found["svm"]


def test_a_pair_in_the_wrong_order_costs_what_its_grades_are_apart_and_a_tie_half() -> None:
    grades = [5.0, 3.0, 2.0]
    assert wrong_pairs([3, 2, 1], grades) == (0.0, 6.0)
    assert wrong_pairs([1, 2, 3], grades) == (6.0, 6.0)
    assert wrong_pairs([1, 1, 1], grades) == (3.0, 6.0)
    assert wrong_pairs([2, 3, 1], grades) == (2.0, 6.0)
    assert wrong_pairs([1, 2], [4.0, 4.0]) == (0.0, 0.0)


def test_the_loss_joins_all_pairs_and_is_less_sure_of_few_readers() -> None:
    pairs = np.array([[[1.0, 2.0], [0.0, 2.0]], [[3.0, 8.0], [3.0, 8.0]]])
    assert jackknife(pairs)["mean"] == pytest.approx((4 / 10 + 3 / 10) / 2)
    assert jackknife(pairs, pairs) == {"mean": 0.0, "se": 0.0}
    few, many = np.tile(pairs, (4, 1, 1)), np.tile(pairs, (64, 1, 1))
    assert jackknife(few)["se"] > 3 * jackknife(many)["se"] > 0
    assert jackknife(pairs[:1])["se"] == 0.0


def test_a_graded_paper_is_neither_known_nor_ordinary(data: Path) -> None:
    collection, researchers = expertise.load(data, users=None, seed=1)
    for researcher in researchers:
        case = expertise.case_of(collection, researcher, researcher.profiles[0])
        assert list(case.pool) == list(range(6))
        assert set(case.background).isdisjoint({*case.pool, *case.known})


# -- what can go wrong ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set=nowhere"], "invalid choice: 'nowhere'"),
        (["--data=/no/such/folder"], "there is no folder /no/such/folder"),
        (["--set=all", "--users=some.jsonl"], "say of which --set"),
        (["--set=hf-authors", "--users=/no/such/file"], "cannot read /no/such/file"),
        (["--readers=0"], "0 is not 1 or more"),
        (["--methods", "magic"], "invalid choice: 'magic'"),
    ],
)
def test_what_was_asked_wrongly_is_said_and_not_run(
    benchmark: Callable[..., dict],
    words: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmark(*words)
    assert says in f"{ended.value.code} {capsys.readouterr().err}"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 1"),
        ("[]", "not an object"),
        ('{"u": "ada", "items": ["9999.00001"]}', "the set has no '9999.00001'"),
        ('{"u": "ada"}', "the set has no 'items'"),
        ('{"u": "ada", "items": []}', "no reader has 13 papers"),
    ],
)
def test_readers_that_cannot_be_read_are_named_with_their_file(
    benchmark: Callable[..., dict], tmp_path: Path, line: str, says: str
) -> None:
    users = tmp_path / "users.jsonl"
    users.write_text(line + "\n")
    with pytest.raises(SystemExit) as ended:
        benchmark("--set=hf-authors", f"--users={users}")
    assert says in str(ended.value.code)


def test_a_set_that_is_cut_short_is_named(benchmark: Callable[..., dict], data: Path) -> None:
    path = data / "citeulike-a" / "titles.txt.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SystemExit) as ended:
        benchmark("--set=citeulike-a")
    assert f"cannot read {path}" in str(ended.value.code)


def test_a_set_that_is_not_there_is_missed_before_hours_are_spent_on_others(
    benchmark: Callable[..., dict], data: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmark("--set=all")
    assert ended.value.code == f"--data: {data} has no folder hf_daily"


def test_an_interrupted_run_says_so_and_ends(data: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "benchmarks.ranking",
        f"--data={data}",
        "--set=citeulike-a",
        "--k",
    ]
    words += ["5"] * 3000
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert "k=5" in next(line for line in process.stderr if "k=5" in line)
        process.send_signal(signal.SIGINT)
        _out, errors = process.communicate(timeout=60)
    assert errors.strip().endswith("stopped")
    assert process.returncode == 1


def test_the_table_for_people_names_every_method_with_its_error(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ranking", f"--data={data}", "--set=citeulike-a", "--methods", "random", "ours"]
    monkeypatch.setattr(sys, "argv", words)
    ranking.main()
    said = capsys.readouterr().out
    assert "citeulike-a, 12 readers" in said
    assert said.count("    ours") == 2
    assert said.count("ndcg@10") == 4
    assert "±" in said


# -- readers a second ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def rates() -> list[dict]:
    """Two crowds, over papers enough for near-duplicates and for topics without any."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throughput, "ARCHIVE", 200)
        return throughput.measured_rows(
            seed=5, papers=[60], readers=[200], crowds=throughput.CROWDS
        )


def test_every_step_of_a_morning_costs_something_and_is_counted_once(rates: list[dict]) -> None:
    for row in rates:
        steps = row["us_per_reader"]
        assert min(steps.values()) > 0
        seconds = sum(steps.values()) * row["readers"] / 1e6 + row["once_seconds"]
        assert row["readers_per_second"] == pytest.approx(row["readers"] / seconds, rel=0.1)


def test_nearly_every_reader_gets_a_digest_of_several_papers(rates: list[dict]) -> None:
    for row in rates:
        assert 160 < row["digests"] <= 200
        assert 3 < row["papers_per_digest"] <= throughput.PLACES + 10


def test_the_digests_that_are_timed_are_those_that_the_product_composes() -> None:
    clock = throughput.Clock()
    morning = throughput.morning_of(40, seed=2, clock=clock)
    rng = random.Random(4)
    words = town.Words(rng)
    batch = [throughput.reader_of("strangers", rng, words, morning) for _ in range(20)]
    written = [json.loads(said) for said in throughput.digests(batch, morning, clock)]
    facts = morning.corpus.papers
    reasons = [item["reason"]["kind"] for items in written for item in items if "reason" in item]
    assert {"topic", "paper", "popular"} <= set(reasons)
    for items in written:
        ids = [item["paper_id"] for item in items]
        assert len(ids) == len(set(ids)) <= len(facts)
        assert all(item["upvotes"] == facts[item["paper_id"]].upvotes for item in items)
    assert [json.loads(said) for said in throughput.digests(batch, morning, clock)] == written
