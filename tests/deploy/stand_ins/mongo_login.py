"""Log in with the everyday user: mongo_login.py HOST SECRETS."""

import sys
from pathlib import Path
from typing import Any

from pymongo import MongoClient

password = Path(sys.argv[2], "mongo_password.txt").read_text().strip()
login = {"username": "orchestrator", "password": password, "authSource": "orchestrator"}
with MongoClient[Any](sys.argv[1], 27017, directConnection=True, serverSelectionTimeoutMS=3000, **login) as client:
    client["orchestrator"]["audit_log"].find_one({})
print("ok")
