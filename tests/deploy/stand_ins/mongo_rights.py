"""Say who may insert and who may remove: mongo_rights.py HOST SECRETS."""

import json
import sys
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

LOGINS = {"orchestrator": "mongo_password", "orchestrator_archive": "mongo_archive_password", "nobody": ""}


def may(act: Any) -> bool:
    """Say whether the server lets it be done."""
    try:
        act()
    except OperationFailure:
        return False
    return True


def find_rights(user: str, secret: str) -> list[bool]:
    """Return whether the user may insert, and may remove."""
    login: dict[str, Any] = {}
    if secret:
        password = Path(sys.argv[2], f"{secret}.txt").read_text().strip()
        login = {"username": user, "password": password, "authSource": "orchestrator"}
    with MongoClient[Any](sys.argv[1], 27017, directConnection=True, **login) as client:
        transcripts = client["orchestrator"]["transcripts"]
        inserts = may(lambda: transcripts.insert_one({"_id": f"rights-{user}"}))
        return [inserts, may(lambda: transcripts.delete_one({"_id": f"rights-{user}"}))]


print(json.dumps({user: find_rights(user, secret) for user, secret in LOGINS.items()}))
