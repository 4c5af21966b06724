"""The program that reads one document in a process of its own: `python -I child.py FORMAT TABLES ENTITIES`.

It finds the document in `document` and the packages beside it, and writes one JSON object to its output.
"""

import json
import os
import sys


def main() -> None:
    """Read the document and print what came of it, an error included."""
    sys.path.insert(0, os.getcwd())
    from agents.skills.base import LimitExceeded, SkillError
    from agents.skills.document_parser.extract import invalid
    from agents.skills.document_parser.parsing import Format, Options, parse_document

    wanted, tables, entities = sys.argv[1:]
    options = Options(format=Format(wanted), tables=tables == "1", entities=entities == "1")
    try:
        with open("document", "rb") as file:
            answer = {"parsed": parse_document(file.read(), options)}
    except LimitExceeded as error:
        answer = {"limit": {"limit": error.limit, "message": error.message}}
    except SkillError as error:
        answer = {"error": {"code": error.code, "message": error.message}}
    except Exception as error:  # the edge of this process: a hostile file may raise anything in a parser
        broken = invalid(f"the parser failed with {type(error).__name__}")
        answer = {"error": {"code": broken.code, "message": broken.message}}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
