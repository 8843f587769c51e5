"""LaTeX -> plain Unicode, for what titles and abstracts hold of it. Pure.

Islands of LaTeX are looked for in the text, and each is read alone by pylatexenc: so a price, a
path or a lost brace can spoil no more than itself. What cannot be read stands as it was written.

Letters stay plain letters (`\\mathcal{O}` is O, `\\mathbb{R}` is R): screen readers spell out the
mathematical alphabets or pass over them, and many fonts of mail programs lack them. Digits, signs
and a letter or two go up or down (n², xᵢ₊₁); longer scripts keep their `^` or `_`.

Hugging Face sends a dialect of its own: the backslashes and dollars are gone and the rest stayed
(`2times`, `360^circ`, `pi_{0.5}`, `https://example.org{our page}`), which is mended where it can
be nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import Any

from pylatexenc.latex2text import (
    EnvironmentTextSpec,
    LatexNodes2Text,
    MacroTextSpec,
    get_default_latex_context_db,
)
from pylatexenc.latexwalker import LatexGroupNode

MOST_ISLANDS = 200  # of a text: each takes pylatexenc about 0.3 ms
ISLANDS_KEPT = 2000

# It spells what it cannot read into the log.
logging.getLogger("pylatexenc").setLevel(logging.CRITICAL)

# Where a group began and ended, and where an island was set aside: no text has these characters
# (`papers.texts` drops them, as Unicode says they are no characters).
_OPEN, _CLOSE, _ASIDE = "\ufdd0", "\ufdd1", "\ufdd2"
NOT_TEXT = "\ufdd0-\ufdef"

# Balanced, three deep, at most some thousand characters long; possessive, so that it cannot hang.
_GROUP = (
    r"\{(?:[^{}\\]|\\.|\{(?:[^{}\\]|\\.|\{[^{}]{0,300}+\}){0,300}+\}){0,1000}+\}"
)  # fmt: skip
_STYLES = (
    "text(?:bf|it|tt|sc|sf|rm|sl|up|md|normal)?|emph|underline|mbox|math(?:bf|bb|cal|frak|it|rm|sf|tt|scr)"
    "|boldsymbol|operatorname|ensuremath|text(?:super|sub)script"
)
_NAMED = "url|footnote|cite[pt]?|[cC]?ref|eqref|frac|nicefrac|sqrt"
# What stands for itself outside of math too. Others may be a path or an author's own macro.
_SIGNS = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau"
    "|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Phi|Psi|Omega|times|pm|sim"
    "|approx|leq?|geq?|neq?|cdot|infty|to|rightarrow|leftarrow|leftrightarrow|uparrow|downarrow"
    "|in|ldots|dots|textgreater|textless|textasciitilde|textbackslash|textendash|textemdash|ss|ae"
    "|AE|oe|OE|aa|AA|o|O|l|L|eg|ie|etal|etc|LaTeX|TeX|xspace|checkmark|circ|deg"
)
_ISLAND = re.compile(
    rf"""(?=[\\$`{{]|https?:|[A-Za-z]:\\)(?:
    (?P<link>https?://[^\s{{}}\\<>"]*+)(?P<label>{_GROUP})?
    |(?P<kept>(?<![\w\\])[A-Za-z]:\\[^\s]*+|(?<!`)`[^`'\n]{{1,100}}+`(?!`))
    |(?P<math>(?<![\\$])\$\$(?:[^$\\]|\\.){{1,1000}}+\$\$|(?<![\\$])\$(?![\s$])(?:[^$\\]|\\.){{1,1000}}+\$(?!\$)
        |\\\((?:[^\\]|\\[^)]){{1,500}}?\\\)|\\\[(?:[^\\]|\\[^\]]){{1,500}}?\\\])
    |(?P<environment>\\begin\{{(?P<name>itemize|enumerate|equation\*?|align\*?)\}}.{{0,2000}}?
        \\end\{{(?P=name)\}})
    |(?P<accent>\\(?:["'`^~=.](?:[A-Za-z]|\\[ij](?![A-Za-z])|\{{(?:[A-Za-z]|\\[ij])\}})
        |[cvuHkrbd]\{{(?:[A-Za-z]|\\[ij])\}}))
    |(?P<group>(?<!\\)\{{(?=\\[A-Za-z"'`^~=.])(?:\\(?:em|bf|it|tt|sc|sl|rm|sf)(?![A-Za-z])
        |\\(?:["'`^~=.]|[cvuHkr](?![A-Za-z]))|\\(?:{_SIGNS})(?![A-Za-z]))
        (?:[^{{}}\\]|\\.|{_GROUP}){{0,1000}}+\}})
    |\\href[ ]?\{{(?P<target>[^{{}}\s]{{1,500}})\}}(?P<words>{_GROUP})
    |(?P<macro>\\(?:{_STYLES}|{_NAMED})[ ]?(?:\[[^\[\]]{{0,50}}\]){{0,2}}{_GROUP}(?:{_GROUP})?)
    |(?P<sign>\\(?:ss|ae|AE|oe|OE|aa|AA|o|O|l|L)[ ](?=[a-z])
        |(?<![:/\\])\\(?:{_SIGNS})(?![A-Za-z])(?:\{{\}})?))""",
    re.VERBOSE | re.DOTALL,
)  # fmt: skip


class Unreadable(Exception):
    """Not LaTeX, or such as nobody but its author knows."""


def plain(text: str) -> str:
    """The text with its LaTeX as it reads; as it stands, where it cannot be read.

    It takes time in proportion to the text. Knows nothing of control characters; see
    papers.texts.readable.
    """
    if not (_SIGNED.search(text) or any(word in text for word in _TELLING)):
        return text
    if _CLOSING_QUOTE.search(text):  # it went through JSON: `\\"so\\"`
        text = text.replace('\\"', '"')
    text, aside = _set_aside(text)
    text = _escapes(_mended(text, _STRIPPED))
    text = _mended(text, _TYPED)
    return _PLACE.sub(lambda found: aside[int(found[1])], text) if aside else text


_SIGNED = re.compile(r"[\\$^~`{]|--|_\d")
_TELLING = ("times", "arrow", "sim", "approx", "leq", "geq", "neq", "infty", "cdot")
_PLACE = re.compile(f"{_ASIDE}(\\d+){_ASIDE}")


def _mended(text: str, rules: Iterable[_Rule]) -> str:
    for needle, pattern, replacement in rules:
        if needle in text:
            text = pattern.sub(replacement, text)
    return text


_HAS_ISLANDS = re.compile(r"[\\$`{]|https?:")


def _set_aside(text: str) -> tuple[str, list[str]]:
    """The text with a mark where each island was, and what stands there."""
    made: list[str] = []
    aside: list[str] = []
    if not _HAS_ISLANDS.search(text):
        return text, aside
    end = at = tried = 0
    while tried < MOST_ISLANDS and (found := _ISLAND.search(text, at)):
        tried += 1
        said = _island(found)
        if said is None:
            at = found.start() + 1
            continue
        made += [text[end : found.start()], f"{_ASIDE}{len(aside)}{_ASIDE}"]
        aside.append(said)
        end = at = found.end()
    return "".join([*made, text[end:]]), aside


def _island(found: re.Match[str]) -> str | None:
    """What it reads as; None where it is none after all."""
    source = found[0]
    if found["link"]:
        return _link(found["link"], (found["label"] or "")[1:-1])
    if found["target"]:
        return _link(found["target"].replace("\\", ""), plain(found["words"][1:-1]))
    if found["kept"]:
        return source
    if found["math"] and not _is_math(found):
        return None
    if found["accent"] and not _is_accent(found):
        return None
    try:
        said = _read(source)
    except Unreadable:
        return None
    is_doubled = said.endswith(".") and found.string.startswith(".", found.end())  # `\\etc.`
    return said[:-1] if is_doubled else said


def _link(url: str, label: str) -> str:
    """`https://example.org{our page}` is what Hugging Face makes of `\\href`."""
    words = _BRACES.sub("", label).strip()
    bare = url.partition("//")[2].rstrip("/.")
    if not words or "http" in words or bare in words or words.casefold() in _NO_WORDS:
        return url
    stop = "." if words.endswith(".") else ""
    return f"{words.rstrip('.')} ({url.rstrip('.')}){stop}"


_BRACES = re.compile(r"[{}]")
_NO_WORDS = {"this https url", "this url", "link", "url", "here"}


def _is_math(found: re.Match[str]) -> bool:
    """Not “$5 and $10”. A pair of dollars is math if what is between them touches both, and is
    either marked as math or has no words parted by blanks (pandoc's rule, and a little more:
    https://pandoc.org/MANUAL.html#extension-tex_math_dollars)."""
    source = found[0]
    if source[0] == "\\" or source.startswith("$$"):
        return True
    inner = source.strip("$")
    if inner[-1:].isspace() or _PROSE.search(inner):
        return False
    if _MARKED.search(inner):
        return True
    follows = found.string[found.end() : found.end() + 1]
    return not follows.isdigit() and len(inner) <= 60 and bool(_FORMULA.fullmatch(inner))


_MARKED = re.compile(r"[\\^_]")
_PROSE = re.compile(r"(?<![\\A-Za-z{])[a-z]{2,}[ ,]+[a-z]{2,}[ ,]+(?:[a-z]{2,}|\d)")
_FORMULA = re.compile(r"(?:[-=<>+|]\s*)?[^\s,]+(?:\s*[-=<>+*/|,:;]\s*[^\s,]+)*")


def _is_accent(found: re.Match[str]) -> bool:
    """Not the escaped quote of a text that went through JSON: `it\\'s`."""
    return not _SHORTENED.match(found.string, found.start())


_SHORTENED = re.compile(r"\\'(?:s|t|re|ll|ve|d|m)\b")
_CLOSING_QUOTE = re.compile(r'\\"(?![A-Za-z{\\])')


# -- one island -----------------------------------------------------------------------------


@lru_cache(maxsize=ISLANDS_KEPT)
def _read(source: str) -> str:
    """Raises Unreadable."""
    if not source.startswith(r"\begin"):
        source = _BARE_SIGN.sub(r"\\\1", source)  # a per cent sign would begin a comment
    try:
        said = str(_Plain().latex_to_text(source, tolerant_parsing=False))
    except Unreadable:
        raise
    except Exception as error:  # the parser raises whatever it stumbles over
        raise Unreadable from error
    said = _scripted(said) if source.startswith(r"\textsu") else _unscripted(said)
    said = _GAP.sub(" ", said)
    if "\\" in said and "\\\\" not in source and "backslash" not in source:
        raise Unreadable
    return said


_GAP = re.compile(r"\s+")
_BARE_SIGN = re.compile(r"(?<!\\)([%&#])")


class _Plain(LatexNodes2Text):  # type: ignore[misc]
    """Marks the groups that are no macro's argument: a script's group has to stay together."""

    def __init__(self) -> None:
        super().__init__(latex_context=_context(), math_mode="text", keep_comments=True)
        self._arguments: set[int] = set()

    def macro_node_to_text(self, node: Any) -> str:
        if node.nodeargd and node.nodeargd.argnlist:
            groups = [each for each in node.nodeargd.argnlist if isinstance(each, LatexGroupNode)]
            self._arguments.update(map(id, groups))
        return str(super().macro_node_to_text(node))

    def group_node_to_text(self, node: Any) -> str:
        said = str(super().group_node_to_text(node))
        return said if id(node) in self._arguments else f"{_OPEN}{said}{_CLOSE}"

    def math_node_to_text(self, node: Any) -> str:
        return _spaced(_scripted(str(super().math_node_to_text(node))))


@cache
def _context() -> Any:
    context = get_default_latex_context_db()
    context.add_context_category(
        "plain",
        prepend=True,
        macros=[
            *(MacroTextSpec(name, simplify_repl=said) for name, said in _SAID.items()),
            *(MacroTextSpec(name, simplify_repl=_argument) for name in _ALPHABETS),
            *(MacroTextSpec(name, simplify_repl=_bracketed) for name in _REFERENCES),
            *(
                MacroTextSpec(name, simplify_repl=_unknown)
                for name in ("input", "include", "today")
            ),
            MacroTextSpec("frac", simplify_repl=_fraction),
            MacroTextSpec("nicefrac", simplify_repl=_fraction),
            MacroTextSpec("dfrac", simplify_repl=_fraction),
            MacroTextSpec("tfrac", simplify_repl=_fraction),
            MacroTextSpec("sqrt", simplify_repl=_root),
            MacroTextSpec("footnote", simplify_repl=" (%(2)s)"),
            MacroTextSpec("url", simplify_repl="%s"),
            MacroTextSpec("item", simplify_repl=" • "),
        ],
    )
    context.set_unknown_macro_spec(MacroTextSpec("", simplify_repl=_unknown))
    context.set_unknown_environment_spec(EnvironmentTextSpec("", simplify_repl=_unknown))
    return context


_ALPHABETS = (
    "mathbf", "mathit", "mathsf", "mathbb", "mathtt", "mathcal", "mathscr", "mathfrak", "mathrm",
    "boldsymbol", "bm", "operatorname", "mathop", "textnormal", "textup", "textmd", "textsf",
    "texttt", "underline", "mbox",
)  # fmt: skip
_REFERENCES = ("cite", "citet", "citep", "ref", "cref", "Cref", "autoref", "eqref")
_SAID = {
    "sim": "~", "ast": "*", "star": "*", "epsilon": "ε", "varphi": "φ", "colon": ":", "|": "‖",
    "checkmark": "✓", "iff": "⇔", "implies": "⇒", "arg": "arg", "leqslant": "≤", "geqslant": "≥",
    "deg": "°", "xspace": "", "eg": "e.g.", "ie": "i.e.", "etal": "et al.", "etc": "etc.",
    "LaTeX": "LaTeX", "TeX": "TeX", "textgreater": ">", "textless": "<", "textasciitilde": "~",
    "em": "", "bf": "", "it": "", "tt": "", "sc": "", "sl": "", "rm": "", "sf": "",
    "displaystyle": "", "textstyle": "", "limits": "", "nolimits": "", "left": "", "right": "",
    "big": "", "Big": "", "bigl": "", "bigr": "", "Bigl": "", "Bigr": "", "bigg": "", "Bigg": "",
    "textsuperscript": "^", "textsubscript": "_", "!": "",
}  # fmt: skip


def _unknown(_node: Any) -> str:
    raise Unreadable


def _argument(node: Any, l2tobj: _Plain) -> str:
    return str(l2tobj.nodelist_to_text([each for each in node.nodeargd.argnlist if each]))


def _bracketed(node: Any, l2tobj: _Plain) -> str:
    return f"[{str(l2tobj.nodelist_to_text([node.nodeargd.argnlist[-1]])).strip('[]')}]"


def _fraction(node: Any, l2tobj: _Plain) -> str:
    above, below = (str(l2tobj.nodelist_to_text([each])) for each in node.nodeargd.argnlist[:2])
    return f"{_held(above)}/{_held(below)}"


def _root(node: Any, l2tobj: _Plain) -> str:
    index, under = node.nodeargd.argnlist
    said = str(l2tobj.nodelist_to_text([index])).strip("[]") if index else ""
    root = {"": "√", "3": "∛", "4": "∜"}.get(said) or f"{_script('^', said)}√"
    under = str(l2tobj.nodelist_to_text([under])).strip()
    return f"{root}{under}" if len(under) == 1 else f"{root}({under})"


def _held(text: str) -> str:
    """In brackets where a fraction's bar held it together."""
    text = text.strip()
    return text if _ONE_THING.fullmatch(text) else f"({text})"


_ONE_THING = re.compile(r"[\w.]+|√?\([^()]*\)|\w+\([^()]*\)")


# -- scripts --------------------------------------------------------------------------------

_UP = dict(zip("0123456789+-−=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱ", strict=True))
_UP |= {"∘": "°", "*": "*", "∗": "*", "'": "′", "′": "′", "T": "ᵀ", "†": "†", "⊤": "ᵀ"}
_DOWN = dict(
    zip("0123456789+-−=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True)
)
_MOST_LETTERS = 2  # more of them are a word, which is read better on the line
_ONE_SCRIPT = re.compile(rf"([_^])[ ]?([^\s{_OPEN}{_CLOSE}_^])")
_GROUPED = re.compile(rf"([_^])[ ]?{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")
_ORDINAL = frozenset({"st", "nd", "rd", "th"})


def _scripted(text: str) -> str:
    """Inner ones first; four deep is more than anybody writes."""
    text = _ONE_SCRIPT.sub(lambda found: _script(*found.groups()), text)
    for _depth in range(4):
        text, made = _GROUPED.subn(lambda found: _script(*found.groups()), text)
        if not made:
            break
    return _unscripted(text)


def _script(sign: str, inner: str) -> str:
    """`^`, 2 -> ²; as it is written, where there are no such characters."""
    inner = " ".join(inner.split())
    forms = _UP if sign == "^" else _DOWN
    tight = inner.replace(" ", "")
    letters = sum(each.isalpha() for each in tight)
    if not tight or (sign == "^" and tight in _ORDINAL):
        return tight
    if letters <= _MOST_LETTERS and all(each in forms for each in tight):
        return "".join(forms[each] for each in tight)
    return f"{sign}{inner}" if _A_WORD.fullmatch(inner) else f"{sign}({inner})"


_A_WORD = re.compile(r"[^\W_²³¹⁰-ₜ]+(?:\.\d+)?|\W")


def _unscripted(text: str) -> str:
    return text.replace(_OPEN, "").replace(_CLOSE, "")


def _spaced(text: str) -> str:
    """pylatexenc gives `a≤ b` and `( x)`."""
    text = _BETWEEN.sub(r" \1 ", text)
    return _INSIDE.sub(lambda found: found[1] or found[2], text)


_BETWEEN = re.compile(r"(?<=[^\s(\[{=<>~,])\s*([≤≥≠≈≡≪≫∈∉⊂⊆→←↔⇒⇔↦∝~]|×(?=\s|\w)|±)\s*(?=[^\s)\]}])")
_INSIDE = re.compile(r"([(\[⌊⌈⟨])\s+|\s+([)\]⌋⌉⟩,])")


# -- what is left of it where the backslashes are gone, and how people type -------------------

# What a text must hold for the rest to be worth a try; what is looked for; what becomes of it.
_Rule = tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]]
_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε",
    "zeta": "ζ", "eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν",
    "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ",
    "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ",
    "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
    "nabla": "∇", "ell": "ℓ",
}  # fmt: skip
_LETTER = "|".join(_GREEK)


def _based(base: str, sign: str, script: str) -> str:
    return _GREEK.get(base, base) + _script(sign, _BRACES.sub("", script))


_WORDS = {
    "rightarrow": "→", "leftarrow": "←", "leftrightarrow": "↔", "infty": "∞", "cdot": "·",
    "leq": "≤", "geq": "≥", "neq": "≠", "approx": "≈",
}  # fmt: skip
_STYLED = r"math(?:cal|bb|bf|rm|it|sf)|text(?:bf|it|tt|sc|rm)|emph"
_SUBSCRIPT = r"\d{1,3}(?![\w.]*\w)|\{[^{}\\]{1,30}\}"
_STRIPPED: list[_Rule] = [
    ("{", re.compile(rf"(?<![a-zA-Z\\])(?:{_STYLED})\{{([^{{}}]*+)\}}"), r"\1"),
    ("{", re.compile(r"\{(times|sim|circ|approx|leq|geq)\}"), r"\1"),
    ("circ", re.compile(r"\^\s?circ"), "°"),
    ("times", re.compile(r"(?<=\d)times(?= ?\d)|(?<=[\dA-Z°])times(?=[A-Z(°\d])"), "×"),
    ("times", re.compile(r"(?<=\d) times(?= \d)"), " ×"),
    ("times", re.compile(r"(?<=\d)times(?![A-Za-z])"), "×"),
    ("×", re.compile(r"(?<=\d)× ?(?=\d)"), " × "),
    (
        "_",
        re.compile(rf"(?<![\w/.@\\-])({_LETTER}|[A-Za-zα-ωΑ-Ω])(_)({_SUBSCRIPT})(?![\w_/])"),
        lambda found: _based(*found.groups()),
    ),
    (
        "_",
        re.compile(r"(?<=[A-Za-z0-9)\]])(_)\{([\w+-]{1,30})\}(?![\w_]|\.\w)"),
        lambda found: _script(*found.groups()),
    ),
    (
        "^",
        re.compile(rf"(?<![\w\\])({_LETTER})(\^)(\d|\*)(?!\w{{0,20}}_)"),
        lambda found: _based(*found.groups()),
    ),
    (
        "^",
        re.compile(r"(?<=[\w)\]}°])(\^)(\d{1,4}(?![\d^]|\.\d)|[ni](?![A-Za-z])|[*+](?![\w*+]))"),
        lambda found: _script(*found.groups()),
    ),
    ("{", re.compile(r"\{(\w{1,20})\}(?=[⁰¹²³⁴-⁹])"), r"\1"),
    (
        "^",
        re.compile(r"(?<=[\w)\]}])(\^)\{([^{}\\]{1,60})\}"),
        lambda found: _script(*found.groups()),
    ),
    (
        "",
        re.compile(r"(?<![A-Za-z\\])((?:left)?rightarrow|leftarrow|infty|cdot)(?![A-Za-z])"),
        lambda found: _WORDS[found[1]],
    ),
    (
        "",
        re.compile(r"(?<![\w\\-])(leq|geq|neq|approx)(?= ?[\d$~])"),
        lambda found: _WORDS[found[1]],
    ),
    ("sim", re.compile(r"(?<![\w\\-])sim ?(?=\d[\d.,]*(?:[KMBkx×]|\\?%|\s|$)(?!\s?real))"), "~"),
]


def _escapes(text: str) -> str:
    """`\\%` and its like; and the apostrophe that JSON escaped."""
    text = _ESCAPED.sub(r"\1", text)
    return _SHORTENED.sub(lambda found: found[0][1:], text)


_ESCAPED = re.compile(r"(?<!\\)\\([%&$#_{}])")

_ALIKE = rf"[\w${_ASIDE}]"
_TYPED: list[_Rule] = [
    ("``", re.compile(r"(?<!`)``(?!`)([^`\"]{1,300}?)(?:''|\")"), r"“\1”"),
    ("`", re.compile(r"(?<![\w`])`([^\s`][^`\n]{0,100}?)'(?![\w'])"), r"‘\1’"),
    # A blank that does not break; but “12~20 %”, “1M~4M”, “(~5 %)” and “~/home” mean the sign.
    ("~", re.compile(r"(?<=[^\s\d%(/=~^])~(?:(?=[^\s\d=~/]|$)|(?<!\d[A-Za-z]~)(?=\d))"), " "),
    ("~", re.compile(r"(?<=\d)~(?=[A-Za-z(\[“])"), " "),
    ("---", re.compile(rf"(?<={_ALIKE})---(?={_ALIKE})|(?<=\s)---(?=\s)"), "—"),
    ("--", re.compile(rf"(?<={_ALIKE})--(?={_ALIKE})|(?<=\s)--(?=\s)"), "–"),
    ("\\", re.compile(r"(?<=\w)\\,(?=\w)|(?<=\w\.)\\ (?=\S)"), " "),
]
