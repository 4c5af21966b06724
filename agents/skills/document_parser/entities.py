"""What is named in a document: dates, amounts, addresses, references and others, each stretch of text once."""

from collections.abc import Iterable, Iterator

from agents.skills.document_parser.extract import EntityText, EntityType, Extract, check_limit
from agents.skills.document_parser.finders import FINDERS, Reading

MAX_ENTITIES = 50_000
CONTEXT_CHARACTERS = 40


def find_entities(extract: Extract) -> list[EntityText]:
    """Return what a document holds, each value once with the place where it stood first.

    Raises: LimitExceeded `entities`.
    """
    found: dict[tuple[EntityType, str], EntityText] = {}
    for text in _list_texts(extract):
        for entity in find_in_text(text):
            found.setdefault((entity.type, entity.value), entity)
        check_limit("entities", len(found), MAX_ENTITIES)
    return list(found.values())


def _list_texts(extract: Extract) -> Iterable[str]:
    yield from (block.content for block in extract.blocks)
    for table in extract.tables:
        for row in [table.headers, *table.rows]:
            yield " | ".join(row)


def find_in_text(text: str) -> Iterator[EntityText]:
    """Yield the entities of one text, in order."""
    for type_, reading in find_readings(text):
        start, end = reading.start, reading.end
        around = text[max(0, start - CONTEXT_CHARACTERS) : end + CONTEXT_CHARACTERS]
        yield EntityText(
            type=type_, value=text[start:end], normalized=reading.normalized, context=" ".join(around.split())
        )


def find_readings(text: str) -> list[tuple[EntityType, Reading]]:
    """Return where the entities of a text stand, in order; no two overlap. Raises: LimitExceeded `entities`."""
    taken = bytearray(len(text))
    readings: list[tuple[EntityType, Reading]] = []
    for finder in FINDERS:
        for match in finder.pattern.finditer(text):
            reading = finder.read(text, match)
            if reading is not None and not any(taken[reading.start : reading.end]):
                taken[reading.start : reading.end] = b"\1" * (reading.end - reading.start)
                readings.append((finder.type, reading))
                check_limit("entities", len(readings), MAX_ENTITIES)
    return sorted(readings, key=lambda found: found[1].start)
