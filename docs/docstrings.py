"""The docstrings of this library as Markdown: tables of options become lists.

A line such as `beta_warmup   steps over which the weight grows`, with further lines indented below
it, explains an option; several of them make a table that plain text shows and Markdown would run
together.
"""

import re

import griffe

ENTRY = re.compile(r"^(\w[\w.,* ]*?)(?: {2,})(\S.*)$")


class HouseStyle(griffe.Extension):
    """Rewrites every docstring once it is read."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """The docstring with its tables as lists and its stars as stars."""
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n\n".join(_paragraph(paragraph.strip("\n")) for paragraph in paragraphs)


def _paragraph(text: str) -> str:
    lines = text.split("\n")
    if lines[0].startswith("    "):
        return text  # code
    if not any(ENTRY.match(line) for line in lines):
        return _escaped(text)
    out, in_list = [], False
    for line in lines:
        entry = ENTRY.match(line)
        if entry:
            out += [] if in_list or not out else [""]
            out.append(f"- `{entry[1]}`: {_escaped(entry[2])}")
            in_list = True
        elif in_list and not line.startswith(" "):
            out += ["", _escaped(line)]
            in_list = False
        else:
            out.append(_escaped(f"  {line.strip()}" if in_list else line))
    return "\n".join(out)


def _escaped(text: str) -> str:
    """Stars, bars and brackets outside code as they are written."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if i % 2 else re.sub(r"([*_\[\]<])", r"\\\1", part) for i, part in enumerate(parts)
    )
