"""What a person wrote in a markdown note, without what they did not: embeds, code, comments."""

import re

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}\1[`~]*[ \t]*$\n?|\Z)", re.M | re.S)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)|%%.*?%%", re.DOTALL)
_EMBED = re.compile(r"!\[\[[^\]\n]*\]\]|!\[[^\]\n]*\](?:\([^)\n]*\)|\[[^\]\n]*\])")
_WIKILINK = re.compile(r"\[\[(?:[^\]|\n]*\|)?([^\]\n]+)\]\]")
_LINK = re.compile(r"\[([^\]\n]+)\]\((?:[^()\n]|\([^()\n]*\))*\)")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_MDX_LINE = re.compile(r"^(?:import\s.+?from\s+['\"].*|export\s.*|<[^>]*>)[ \t]*$\n?", re.M)
_JSX_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def clean(text: str, mdx: bool = False) -> str:
    """Markdown without code blocks, comments, images and embeds; of links what is read stays.

    `mdx` also drops imports, exports and the tags of components.
    """
    text = _FENCE.sub("", text)
    text = _EMBED.sub("", _COMMENT.sub("", text))
    text = _LINK.sub(r"\1", _WIKILINK.sub(r"\1", text))
    if mdx:
        text = _JSX_TAG.sub("", _MDX_LINE.sub("", text))
    return re.sub(r"\n[ \t]*\n(?:[ \t]*\n)+", "\n\n", text)


def take_heading(text: str) -> tuple[str, str]:
    """The first heading of a cleaned text, and the text: without it where nothing stands above."""
    heading = _HEADING.search(text)
    if not heading:
        return "", text
    above = text[: heading.start()].strip()
    return heading[1], text if above else text[heading.end() :]
