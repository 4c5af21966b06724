"""What binds a decision, an approval and a permit to one call and no other. PURE."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson


def dump_arguments(arguments: Any) -> bytes:
    """Return the canonical bytes of a call's arguments: a mapping, or the skill's input model.

    Raises: TypeError for what JSON cannot hold (a lone surrogate, an integer past 64 bits, a key that is no text).
    """
    if hasattr(arguments, "model_dump"):
        arguments = arguments.model_dump(mode="json", by_alias=True)
    return orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)


def digest_arguments(arguments: Any) -> str:
    """Return the SHA-256 of `arguments`; the same for a mapping and for the model it came from."""
    return sha256(dump_arguments(arguments)).hexdigest()


def digest_call(agent_id: str, skill_id: str, arguments: Mapping[str, Any], policy_version: int) -> str:
    """Return what an approval is bound to: agent, skill, exact arguments and policy version."""
    return bind_digest(agent_id, skill_id, digest_arguments(arguments), policy_version)


def bind_digest(agent_id: str, skill_id: str, arguments_digest: str, policy_version: int) -> str:
    """Return `digest_call` from arguments that are digested already."""
    return sha256(orjson.dumps([agent_id, skill_id, arguments_digest, policy_version])).hexdigest()
