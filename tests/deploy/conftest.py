"""Fixtures that more than one part of the deployment's tests wants."""

from tests.deploy.image_cast import built_image

__all__ = ["built_image"]
