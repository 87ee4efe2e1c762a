"""
XML that is bounded before and while it is parsed.

A document type is refused as a whole: with its entities, a few lines can stand for gigabytes
("billion laughs") or for a file of this machine. Text between tags is not kept.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

MOST_ELEMENTS, MOST_DEPTH = 200_000, 64


def parse_xml(text: bytes) -> Element:
    """
    Return the root element of a document.

    :raises ValueError: if it is no XML, or has what is refused; the message is a reason
    """
    builder, parser = TreeBuilder(), expat.ParserCreate()
    open_elements = count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal open_elements, count
        open_elements, count = open_elements + 1, count + 1
        line = parser.CurrentLineNumber
        if open_elements > MOST_DEPTH:
            raise ValueError(f'line {line} is nested more than {MOST_DEPTH} deep')
        if count > MOST_ELEMENTS:
            raise ValueError(f'line {line} exceeds the {MOST_ELEMENTS} elements that are read')
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal open_elements
        open_elements -= 1
        builder.end(tag)

    def refuse_doctype(*_: object) -> None:
        line = parser.CurrentLineNumber
        raise ValueError(f'line {line} has a DOCTYPE, whose entities are not read; remove it')

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise ValueError(f'it is no XML: {error}') from error
    except LookupError as error:  # an encoding that Python does not know
        raise ValueError(f'its encoding is unknown: {error}') from error
    return builder.close()
