"""A text column that holds one JSON value, the same bytes on SQLite and PostgreSQL."""

from typing import TYPE_CHECKING, Any

import orjson
from django.db import models

if TYPE_CHECKING:

    class _TextField(models.TextField[Any, Any]):
        _pyi_private_set_type: Any
        _pyi_private_get_type: Any
else:
    _TextField = models.TextField


class JsonText(_TextField):
    """Store a JSON value as text; `jsonb` would reorder keys and Django's own field parses five times slower."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        return orjson.loads(value) if value else None  # empty once it is erased

    def to_python(self, value: Any) -> Any:
        return value

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else orjson.dumps(value).decode()
