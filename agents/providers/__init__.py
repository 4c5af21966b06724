"""The vendors behind the models. Only `base` is known to the run flow; an SDK's types never leave its module."""
