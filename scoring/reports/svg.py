"""Makes Matplotlib's SVG lean: a third of its size, in the colours of the page."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping

NO_XML = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
    "|[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""Characters that XML cannot hold, and those that drive a terminal or turn text around. Matplotlib
writes them all the same."""
_DEFAULT_STYLE = re.compile(
    r"font-family: [^;\"]*; |; stroke-linejoin: miter|; stroke-linecap: square"
)


def make_lean(svg: str, colours: Mapping[str, str]) -> str:
    """The drawing for a page: no prologue, no empty groups, short paths.

    Args:
        svg: As Matplotlib writes it.
        colours: What was drawn with, to what the page's style sheet calls it.
    """
    svg = NO_XML.sub("\N{REPLACEMENT CHARACTER}", svg)
    root = ElementTree.fromstring(svg)  # noqa: S314 (matplotlib has just written it)
    used = {*re.findall(r"url\(#([^)]+)\)", svg), *re.findall(r'href="#([^"]+)"', svg)}

    for element in root.iter():
        _shorten(element, used)

    _unwrap(root)

    for name in ("version", "width", "height"):
        root.attrib.pop(name, None)

    root.attrib |= {"aria-hidden": "true", "focusable": "false"}
    text = ElementTree.tostring(root, encoding="unicode")

    for drawn, meant in colours.items():
        text = text.replace(drawn, meant)

    return re.sub(r">\s+<", "><", _DEFAULT_STYLE.sub("", text))


def _shorten(element: ElementTree.Element, used: set[str]) -> None:
    """Drop namespaces, unused ids and digits that nobody sees."""
    element.tag = _without_namespace(element.tag)
    for name in [*element.attrib]:
        value = element.attrib.pop(name)
        if name != "id" or value in used:
            element.attrib[_without_namespace(name)] = value if name == "d" else _rounded(value)
    if "d" in element.attrib:
        element.attrib["d"] = _short_path(element.attrib["d"])


def _without_namespace(name: str) -> str:
    return name.rpartition("}")[2]


def _unwrap(element: ElementTree.Element) -> None:
    """Replace groups without attributes by their content; leave out what is never seen."""
    children: list[ElementTree.Element] = []
    for child in element:
        _unwrap(child)
        if child.tag == "g" and not child.attrib:
            children += list(child)
        elif child.tag not in ("metadata", "style") and child.attrib.get("style") != "fill: none":
            children.append(child)
    element[:] = children


def _rounded(text: str) -> str:
    """To one decimal."""
    return re.sub(r"\.0\b", "", re.sub(r"(\d+\.\d)\d+", r"\1", text))


def _short_path(path: str) -> str:
    """Straight lines along an axis take one number, as those of bars do. Curves stay."""
    if "C" in path:
        return _rounded(path)

    parts: list[str] = []
    x = y = ""
    for command, first, second in re.findall(r"([MLz])(?: (\S+) (\S+))?", _rounded(path)):
        if command == "L" and first == x:
            parts.append(f"V{second}")
        elif command == "L" and second == y:
            parts.append(f"H{first}")
        else:
            parts.append(f"{command}{first} {second}".rstrip())

        if first:
            x, y = first, second

    return "".join(parts)
