"""What every operation of the OpenAPI document says of itself.

Apart from `schema`, for DRF loads this class before any view can be declared.
"""

from typing import Any

from drf_spectacular.openapi import AutoSchema

from orchestrator_site.roles import required_scope


class ScopedSchema(AutoSchema):
    """DRF: each operation names the scope that it needs."""

    def get_extensions(self) -> dict[str, Any]:
        """Return the operation's own members."""
        return {"x-required-scope": required_scope(self.view, self.method)}

    def get_tags(self) -> list[str]:
        """Return the first word after /api/."""
        return [self.path.split("/")[2]]
