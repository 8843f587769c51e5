from __future__ import annotations

import gzip
import json
import time
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers.records import MAX_TEXT_LENGTH, paragraphs
from papers.records import one_line as stored_line
from papers.texts import cut, language_of, one_line, readable

# -- LaTeX -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "read"),
    [
        (r"$\mathcal{O}(n^2)$ time", "O(n²) time"),
        (r"$x_{i}$, $x_{ij}^{t+1}$, $10^{-3}$, $H_2O$, $k^{th}$", "xᵢ, xᵢⱼ^(t+1), 10⁻³, H₂O, kth"),
        (r"$e^{x^{2}}$ and $\sum_{i=1}^n x_i$", "e^(x²) and ∑ᵢ₌₁ⁿ xᵢ"),
        (r"$G_{stack}$ at $T^{-1/3}$, $n^{1+o(1)}$", "G_stack at T^(-1/3), n^(1+o(1))"),
        (r"$\frac{a+b}{c}$, $\frac12$, $\sqrt{n}$, $\sqrt{n+1}$", "(a+b)/c, 1/2, √n, √(n+1)"),
        (r"$\tilde{\mathcal{O}}(\sqrt{n})$, $\hat{y}$", "Õ(√n), ŷ"),
        (r"$\theta \sim p(\theta|x)$, $a\leq b$, $f\colon A\to B$", "θ ~ p(θ|x), a ≤ b, f: A → B"),
        (r"$\mathbf{x} \in \mathbb{R}^{d}$, $\|x\|_2$", "x ∈ R^d, ‖x‖₂"),
        (r"\(x\) \[y^2\] $$z$$ $k$-NN $N=5$ $\beta$-VAE", "x y² z k-NN N=5 β-VAE"),
        (r"2$\times$ 10$\times$10 $\sim$5 $90^\circ$ CO$_2$", "2× 10×10 ~5 90° CO₂"),
        (r"\textbf{a \emph{b \texttt{c_d}}} {\em and} {\bf x}", "a b c_d and x"),
        (
            r"Schr\"odinger na\"{\i}ve Pok\'emon {\'e}t\'{e} \v{S}koda",
            "Schrödinger naïve Pokémon été Škoda",
        ),
        (
            r"Erd\H{o}s--R\'enyi, Stra{\ss}e, \O stergaard, \c{C}a",
            "Erdős–Rényi, Straße, Østergaard, Ça",
        ),
        (r"50\% of R\&D for \$5, \#1, a\_b", "50% of R&D for $5, #1, a_b"),
        (r"as~in~\cite{foo}, \url{https://a.org/x_y}", "as in [foo], https://a.org/x_y"),
        (r"\href{https://a.org/x\_y}{our \emph{page}}", "our page (https://a.org/x_y)"),
        (r"this\footnote{See $x_1$.} one", "this (See x₁.) one"),
        (r"\begin{itemize}\item one \item two\end{itemize}", "• one • two"),
        ("``double'' and `single', ``mixed\"", "“double” and ‘single’, “mixed”"),
        (r"\eg, \ie, \etc. 3.6\times faster 360{\deg}", "e.g., i.e., etc. 3.6× faster 360°"),
        (r"1\textsuperscript{st}, CO\textsubscript{2}, $\mathcal O(n)$", "1st, CO₂, O(n)"),
        ("vision--language 1--3 so --- then", "vision–language 1–3 so — then"),
    ],
)  # fmt: skip
def test_latex_reads_as_it_is_meant(source, read):
    assert readable(source) == read


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("2.5times faster, 256times256 and 3 times 4", "2.5× faster, 256 × 256 and 3 × 4"),
        (
            "360^circ by 180^{circ}, pi_0 and π_{0.5}, theta_{SFT}",
            "360° by 180°, π₀ and π_0.5, θ_SFT",
        ),
        ("O(n^2), mathcal{O}(T^{-1/3}), G^2RPO, A^*", "O(n²), O(T^(-1/3)), G²RPO, A*"),
        ("textbf{C}ausal, leq 5, sim20%, 1 rightarrow 2", "Causal, ≤ 5, ~20%, 1 → 2"),
        ("at https://a.org/x_y{our page}.", "at our page (https://a.org/x_y)."),
        (
            "at https://a.org/x{https://a.org/x}, https://b.org{this https URL}",
            "at https://a.org/x, https://b.org",
        ),
    ],
)  # fmt: skip
def test_what_hugging_face_leaves_of_latex_is_mended(source, read):
    assert readable(source) == read


@pytest.mark.parametrize(
    "text",
    [
        "$5 and $10 per GPU hour", "$1", "from $10k to $20k", "cost 5$ or 6$", "US$5, A$6",
        "a lone $",
        "cost $5, or €4.5, not 6$.", "if $x then echo $HOME and $PATH", "$200k for $20 prizes",
        r"C:\new\text{x} and D:\times\alpha", r"100% \ 50", r"\d{3} \w+ \n \u00e9",
        "a_b snake_case N_E",
        "{ unbalanced", "un}balanced", r"\textbf{never closed", r"\frac{1}", r"$\unknown{x}$",
        r"\method wins",
        r"\begin{foo} x \end{foo}", "imo_1960_p2 float8_e5m2 Q4_0 user_{id}.txt", "{True, False}",
        "sim2real, sim 2 real", "three times five", "many times 3 of 4",
        "~5 (~60%) 12~20% 1M~4M ~/home",
        "https://a.org/~ada/x_1--2^3", "`a_b` --flag i--", "it's the authors' own",
        "<think> hm </think>",
        "{{7*7}} {% now %} <script>alert(1)</script> &amp; &lt;", "2 ^ 3 and ^_^", r"[a-z]{2}\b",
        "👩\u200d🔬 می\u200cخواهم", "a\u200eb",
    ],
)  # fmt: skip
def test_what_is_not_latex_stays_as_it_is(text):
    assert readable(text) == text


def test_escaped_quotes_are_no_accents():
    assert readable(r"GPT-4o\'s answer is \"even\" so") == 'GPT-4o\'s answer is "even" so'


@given(st.text(r"\${}^_~`'ab1 -%(", max_size=60) | st.text(max_size=60))
def test_any_text_comes_out_on_one_line_without_the_marks_of_the_work(text):
    made = readable(text)

    assert one_line(made) == made
    assert not {"\ufdd0", "\ufdd1", "\ufdd2"} & set(made)


@given(st.text(" abcdefg.,;:!?()é<>&1", max_size=200))
def test_what_holds_no_sign_of_latex_is_left_alone(text):
    assert readable(text) == " ".join(text.split())


@pytest.mark.parametrize(
    "unit",
    ["$", "{", "\\textbf{", "{\\em ", "\\(", "`", "``a", "{{}", "$\\x", "_{", "x^{a",
        "\\begin{itemize}",
     '\\"o', "$\\frac{a}{b}$ ", "\\href{a}{", "https://a{", "~a", "2times", "a^2", "W"],
)  # fmt: skip
def test_no_text_takes_long(unit):
    started = time.process_time()
    made = readable((unit * MAX_TEXT_LENGTH)[:MAX_TEXT_LENGTH])

    assert time.process_time() - started < 2  # about 0.3 s at worst; quadratic, it was minutes
    assert made or unit == "~a"


def test_what_is_longer_than_any_text_is_cut():
    assert len(readable("a" * (MAX_TEXT_LENGTH + 5))) == MAX_TEXT_LENGTH


def test_of_the_recorded_papers_hardly_any_keeps_its_latex(shared_data):
    """Prices and macros that only their authors know are left."""
    held = left = 0
    path = shared_data / "hf_daily" / "daily_papers_2024-05-27_2025-12-18.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in islice(lines, 0, None, 5):
            paper = json.loads(line)["entry"]["paper"]
            for text in (stored_line(paper["title"]), paragraphs(paper["summary"])):
                made = readable(text)
                assert readable(made) == made
                held += any(sign in text for sign in "\\${")
                left += any(sign in made for sign in "\\${")
    assert held == 89
    assert left <= 15


# -- what is not seen ------------------------------------------------------------------------


def test_nothing_turns_the_rest_of_the_line():
    text = "\u202eTitle\u202c \u2066of\u2069 \u202aa\u2067 paper\u202d"

    assert readable(text) == one_line(text) == "Title of a paper"


def test_what_has_no_width_and_no_meaning_is_taken_out_and_breaks_become_blanks():
    assert one_line("a\u200bb\ufeff\u00ad c\r\nd\x00e\u2028f\ud800\ufdd2\U000e0041") == "ab c d e f"


def test_marks_heaped_on_a_letter_are_few_and_those_of_words_stay():
    assert readable("z" + "\u0301" * 50 + "algo") == "z\u0301\u0301\u0301algo"
    assert readable("Tiê\u0301ng Việt") == "Tiê\u0301ng Việt"


# -- cutting ---------------------------------------------------------------------------------


def test_a_text_is_cut_between_words_and_a_long_word_within():
    assert cut("short", 10) == "short"
    assert cut("a paper, and more", 10) == "a paper…"
    assert cut("W" * 50, 10) == "W" * 9 + "…"


def test_a_word_wider_than_a_phone_is_cut_wherever_it_stands():
    assert cut(f"so {'W' * 2000} much", 300) == f"so {'W' * 44}… much"
    assert cut("W" * 45, 300) == "W" * 45
    assert cut("大" * 200, 300) == "大" * 200
    link = "https://example.org/" + "path-of-it/" * 20
    assert cut(link, 300) == link


def test_a_cut_leaves_no_joiner_without_what_it_joins():
    assert cut("👩\u200d🔬👩\u200d🔬", 3) == "👩…"


# -- language --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Attention Is All You Need", "en"),
        ("We train a model of everything.", "en"),
        ("Towards naïve Bayes", "en"),
        ("Über die Grenzen der Sprachmodelle und das Lernen", ""),
        ("Sur le problème des trois corps", ""),
        ("El aprendizaje por refuerzo en la práctica", ""),
        ("מימין לשמאל of the", ""),
        ("大规模语言模型 with attention", ""),
        ("VILA^2", ""),
        ("", ""),
        ("2048", ""),
    ],
)
def test_only_plain_english_is_called_so(text, language):
    assert language_of(text) == language
