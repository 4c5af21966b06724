"""A value that shows what a JSON Schema asks for, for a form to start with. PURE."""

from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]
_MAX_DEPTH: Final = 20
_FORMATS: Final = {
    "uri": "https://example.com/",
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "ana@example.com",
}


def make_example(schema: Schema) -> Any:
    """Return a small value for a form to start with; it fits most schemas, and shows the shape of the others."""
    return _example(schema, schema, _MAX_DEPTH)


def _example(schema: Any, root: Schema, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth == 0:
        return None
    flat = _flatten(schema, root)
    for key in ("const", "default"):
        if key in flat:
            return flat[key]
    for key in ("examples", "enum"):
        if flat.get(key):
            return flat[key][0]
    kind = flat.get("type", "object" if "properties" in flat else "string")
    return _example_of_kind(kind[0] if isinstance(kind, list) else kind, flat, root=root, depth=depth)


def _flatten(schema: Schema, root: Schema) -> dict[str, Any]:
    """Return a schema with what it refers to, all of its `allOf` and the first of its choices laid over it."""
    flat = dict(schema)
    parts = [_find_part(flat.pop("$ref", ""), root), *flat.pop("allOf", ())]
    parts += [choices[0] for key in ("oneOf", "anyOf") if (choices := flat.pop(key, ()))]
    for part in parts:
        if isinstance(part, Mapping):
            required = [*flat.get("required", ()), *part.get("required", ())]
            properties = flat.get("properties", {}) | part.get("properties", {})
            flat |= part
            flat |= {key: value for key, value in (("required", required), ("properties", properties)) if value}
    return flat


def _find_part(reference: str, root: Schema) -> Any:
    part: Any = root if reference else None
    for name in reference.removeprefix("#").split("/")[1:]:
        part = part.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(part, Mapping) else None
    return part


def _example_of_kind(kind: str, schema: Schema, *, root: Schema, depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: _example(properties.get(name, {}), root, depth - 1) for name in schema.get("required", ())}
    if kind == "array":
        item = _example(schema.get("items", {}), root, depth - 1)
        return [item] * max(schema.get("minItems", 0), 1 if "items" in schema else 0)
    if kind in {"integer", "number"}:
        return schema.get("minimum", 0)
    if kind == "boolean":
        return False
    if kind == "null":
        return None
    text = _FORMATS.get(schema.get("format", ""), "text")
    return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]
