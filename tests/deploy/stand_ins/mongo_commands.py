"""Send the commands on standard input to the server at 127.0.0.1: mongo_commands.py PORT."""

import json
import sys
from typing import Any

from pymongo import MongoClient

with MongoClient[Any]("127.0.0.1", int(sys.argv[1]), directConnection=True) as client:
    for name, command in json.load(sys.stdin):
        client[name].command(command)
