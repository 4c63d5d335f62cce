"""Prose out of documentation: markup, code, tables, links and names of people taken away.

The unit is the sentence. What is kept is whole sentences in their order, so that
a passage reads as its package wrote it; what is dropped is dropped whole:

1. code: fenced, indented, doctest and literal blocks, and their output;
2. markup: headings, badges, images, tables, directives, HTML tags, comments;
3. addresses: a sentence with a URL, an e-mail address or an @handle;
4. people: sections such as Authors, Credits or Licence, lines of authorship, and
   sentences that cite somebody or hold a name known from package metadata;
5. sentences that are mostly symbols, or have fewer than four words.

Every function here is a function of its text; nothing is read from disk.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

Paragraph = tuple[str, ...]  # Sentences.

_DROPPED_SECTION = re.compile(
    r"author|credit|contribut|acknowledg|licen[cs]e|sponsor|backer|thank|citation|citing|cite|"
    r"reference|changelog|change log|changes|history|release|what.?s new|news|maintain|copyright|"
    r"support|community|see also|bibliograph|team|badge|download|link|donat|funding|^v?\d+(\.\d+)+",
    re.IGNORECASE,
)
_PEOPLE = re.compile(
    r"copyright|\(c\)|©|\bauthors?\b|\bmaintain(ed|er|ers)\b|contributors?\b|credits?\b|"
    r"\bthanks\b|thank you|sponsor|written by|created by|developed by|ported by|designed by|"
    r"inspired by|based on (the )?work|acknowledg|et al\b|in memor|\bvol\.|\bpp\.|\bdoi\b|"
    r"isbn|arxiv|warrant(y|ies)\b|liab(le|ility)\b",
    re.IGNORECASE,
)
_NAME_SHAPE = re.compile(
    r"\bPh\.?D|\bDr\.|\bMr\.|\bProf\b|\b[A-Z]\. ?([A-Z]\. ?)*[A-Z][a-z]+|"
    r"\b[A-Z][a-z]+, [A-Z]\.|\(?[A-Z][a-z]+,? \(?(19|20)\d\d\)|\bby [A-Z][a-z]+ [A-Z][a-z]+",
)
_ADDRESS = re.compile(
    r"https?:|ftp:|www\.|://|@|mailto|\b[\w.-]+\.(com|org|net|io|dev|edu)\b|#\d{2,}"
)
_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_UNDERLINE = re.compile(r"^\s*([=\-~^\"'`#*+.:_<>])\1{2,}\s*$")
_TABLE = re.compile(r"^\s*([|+].*[|+]\s*$|={2,}(\s+={2,})+\s*$|-{2,}(\s+-{2,})+\s*$)|\|.*\|")
_DIRECTIVE = re.compile(r"^\s*\.\.(\s|$)")
_FIELD = re.compile(r"^\s*:(\w[^:`]*):(?!`)\s*")
_PARAMETER = re.compile(r"^\s*[*`\w.,\s]{1,60}\s:\s.*$|^\s*\*{0,2}\w+\s*$")
_GOOGLE_PARAMETER = re.compile(r"^(\s*)`{0,2}\*{0,2}\w+`{0,2}(\s*\([^)]*\))?:\s+")
_BULLET = re.compile(r"^\s*([-*+•]|\d+[.)])\s+")
_NOT_LETTERS = re.compile(r"[^\w ]|[\d_]")
_SYMBOLS = re.compile(r"[\\${}<>|^~=;#`\u2500-\u27bf]|->|\*\*|\.\. |::|\(\)\w|__\w|\s[-+*/]\s")
_SENTENCE_END = re.compile(
    r"(?<!\b[A-Z]\.)(?<!e\.g\.)(?<!i\.e\.)(?<!\bal\.)(?<=[.!?])[\"')\]]*\s+(?=[\"'(]?[A-Z])"
)


def people(names: Iterable[str]) -> re.Pattern[str]:
    """Make the pattern that finds any of the names, whole words, in any case."""
    either = "|".join(re.escape(name) for name in sorted(names))
    return re.compile(rf"\b({either})\b" if either else r"(?!)", re.IGNORECASE)


_NOBODY = people(())


def prose(text: str, *, names: re.Pattern[str] = _NOBODY) -> list[Paragraph]:
    """Return the paragraphs of plain prose in a README or a docstring.

    Args:
        text: Markdown, reStructuredText or plain, dedented.
        names: finds names of people (`people`); a sentence with one is dropped.

    Returns:
        Paragraphs of at least one sentence, in their order.
    """
    kept = []
    for block in _blocks(_without_html(text)):
        sentences = tuple(
            sentence for sentence in _sentences(_inline(block)) if _is_prose(sentence, names)
        )
        if sentences:
            kept.append(sentences)
    return kept


def words(text: str) -> int:
    """Count the words of a text: what stands between white space."""
    return len(text.split())


def capitalised_pairs(sentence: str) -> Iterator[tuple[str, str]]:
    """Yield neighbouring capitalised words: what a person's name would look like."""
    for first, second in re.findall(r"(?=\b([A-Z][a-z]+) (?:[A-Z]\. )?([A-Z][a-z]+)\b)", sentence):
        yield first.lower(), second.lower()


def drop_unknown_names(
    paragraphs: Iterable[Paragraph], vocabulary: frozenset[str]
) -> list[Paragraph]:
    """Drop sentences with two neighbouring capitalised words that nobody writes small.

    A pair such as "Fast Fourier" has a word the harvest also knows in lower case;
    a name and a surname do not. Some products fall with the people, which is the
    cheaper mistake.

    Args:
        paragraphs: prose as `prose` returns it.
        vocabulary: every word the harvest holds in lower case.
    """
    kept = []
    for paragraph in paragraphs:
        sentences = tuple(
            sentence
            for sentence in paragraph
            if all(
                first in vocabulary or second in vocabulary
                for first, second in capitalised_pairs(sentence)
            )
        )
        if sentences:
            kept.append(sentences)
    return kept


def _without_html(text: str) -> str:
    text = re.sub(r"<!--.*?-->", " ", text, flags=re.DOTALL)
    text = re.sub(r"<(pre|script|style|table|code)\b.*?</\1>", " ", text, flags=re.DOTALL)
    text = re.sub(r"</?(p|div|br|h\d|ul|ol|li|hr|picture|source|img|summary|details)\b[^>]*>",
                  "\n", text)  # fmt: skip
    return html.unescape(re.sub(r"</?[a-zA-Z][^<>\n]*>", "", text))


def _blocks(text: str) -> Iterator[str]:
    """Yield paragraphs of text, one line each, with code and unwanted sections left out."""
    paragraph: list[str] = []
    for line in [*_wanted_sections(_without_code(text.expandtabs().splitlines())), ""]:
        starts_item = bool(_BULLET.match(line))
        if (not line.strip() or starts_item) and paragraph:
            yield " ".join(paragraph)
            paragraph = []
        if line.strip():
            paragraph.append(_BULLET.sub("", line).strip())


def _without_code(lines: list[str]) -> Iterator[str]:
    """Drop fenced, literal, indented, doctest blocks, directives and tables."""
    fence = ""
    literal_indent: int | None = None  # Inside a block that ends at this indent or less.
    doctest = table = after_blank = False
    for line in lines:
        blank = not line.strip()
        indent = len(line) - len(line.lstrip())
        mark = _FENCE.match(line)
        if fence:
            fence = "" if mark and mark.group(1).startswith(fence) else fence
            continue
        if mark:
            fence = mark.group(1)[:3]
            continue
        if literal_indent is not None and (blank or indent > literal_indent):
            continue
        literal_indent = None
        doctest = (doctest and not blank) or line.lstrip().startswith((">>>", "$ ", "In ["))
        border = bool(_TABLE.search(line))
        table = (table and not blank) or border
        if doctest or table:
            continue
        if _DIRECTIVE.match(line):
            literal_indent = indent
            continue
        if after_blank and indent >= 4 and re.search(r"[=(){}\[\];]|^\s*(import|from|pip) ", line):
            continue
        if line.rstrip().endswith("::"):
            literal_indent = indent
            line = line.rstrip().removesuffix("::") + ":"  # noqa: PLW2901 - its text is kept.
        after_blank = blank
        yield line
        if literal_indent is not None:
            yield ""


def _wanted_sections(lines: Iterable[str]) -> Iterator[str]:
    """Drop headings, the sections that speak of people or releases, and parameter lines."""
    known = list(lines)
    levels: dict[str, int] = {}
    dropped_level: int | None = None
    for place, line in enumerate(known):
        following = known[place + 1] if place + 1 < len(known) else ""
        heading, level = _heading(line, following, levels)
        if heading is not None:
            if dropped_level is None or level <= dropped_level:
                dropped_level = level if _DROPPED_SECTION.search(heading) else None
            yield ""
            continue
        if dropped_level is not None or _UNDERLINE.match(line):
            yield ""
            continue
        if _PARAMETER.match(line) or re.match(
            r"^\s*(Args|Returns|Raises|Yields|Note)s?:\s*$", line
        ):
            yield ""
            continue
        field = _FIELD.match(line)
        if field or _GOOGLE_PARAMETER.match(line):
            yield ""
            line = _GOOGLE_PARAMETER.sub("", _FIELD.sub("", line))  # noqa: PLW2901
            if field and _DROPPED_SECTION.search(field.group(1)):
                continue
        yield line


def _heading(line: str, following: str, levels: dict[str, int]) -> tuple[str | None, int]:
    """Return the heading in a line and its level, or None; `levels` remembers underlines."""
    hashes = re.match(r"^\s{0,3}(#{1,6})\s+(.*?)#*\s*$", line)
    if hashes:
        return hashes.group(2), len(hashes.group(1))
    under = _UNDERLINE.match(following)
    if line.strip() and under and not _UNDERLINE.match(line) and words(line) <= 12:
        return line.strip(), levels.setdefault(under.group(1), len(levels) + 1)
    bold = re.match(r"^\s*\*\*([^*]{1,40})\*\*:?\s*$", line)
    if bold:
        return bold.group(1), 6
    return None, 0


def _inline(text: str) -> str:
    """Take inline markup off a paragraph, keeping the words it marks."""
    text = re.sub(r"\[?!\[[^\]]*\](\([^)]*\)|\[[^\]]*\])(\]\([^)]*\))?", " ", text)
    text = re.sub(r"\[([^\]]+)\](\([^)]*\)|\[[^\]]*\])", r"\1", text)
    text = re.sub(r"`([^`<]+?)\s*<[^`>]*>`_{0,2}", r"\1", text)
    text = re.sub(r":[\w:+-]+:`[~!.]?([^`<]*?)(\s*<[^`>]*>)?`", r"\1", text)
    text = re.sub(r"\|[\w -]+\|_?|\s*\[[\w#*-]{1,12}\]_?|\^\[[^\]]*\]", "", text)
    text = re.sub(r"`{1,2}([^`]*)`{1,2}_{0,2}", r"\1", text)
    text = re.sub(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1", r"\2", text)
    text = re.sub(r"(?<![\w*])\*(?=\S)([^*]+?)(?<=\S)\*(?![\w*])", r"\1", text)
    text = text.replace("\u2019", "'").replace("\u2018", "'").replace("\u00a0", " ")
    text = text.replace("\u201c", '"').replace("\u201d", '"').replace("\\_", "_")
    return re.sub(r"\s+([.,;:!?](\s|$))", r"\1", re.sub(r"\s+", " ", text)).strip()


def _sentences(paragraph: str) -> Iterator[str]:
    for sentence in _SENTENCE_END.split(paragraph):
        yield sentence.strip()


def _is_prose(sentence: str, names: re.Pattern[str]) -> bool:
    if not 4 <= words(sentence) <= 70 or sentence[-1] not in ".!?:)\"'":
        return False
    if any(dropped.search(sentence) for dropped in (_ADDRESS, _PEOPLE, _NAME_SHAPE)):
        return False
    if re.search(
        r"[\\${}<>|^~=;#`\u2500-\u27bf]|->|\*\*|\.\. |::|\(\)\w|__\w|\s[-+*/]\s", sentence
    ):
        return False
    if not sentence.isascii() and not all(
        mark.isascii() or mark.isalpha() or mark == "\u2014" for mark in sentence
    ):
        return False
    letters = len(sentence) - len(_NOT_LETTERS.findall(sentence))
    if letters < 0.88 * len(sentence) or "__" in sentence or not sentence[0].isupper():
        return False
    return not names.search(sentence)
