"""Judge a call by the rules in force: measured, in normal form, by one version. Nobody is asked, nothing recorded."""

from dataclasses import dataclass, replace
from hashlib import sha256

from toolgate.digests import bind_digest, dump_arguments
from toolgate.engine import CompiledPolicy, decide, deny
from toolgate.in_force import policy_in_force
from toolgate.normal import NotNormal, is_plain_id, normalise_resource
from toolgate.records import recordable_id
from toolgate.types import Call, Decision, Reason, Request, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A call as the gate took it, and what the rules of `policy` say to it."""

    call: Call  # with the size of its arguments, which only the gate can be trusted to have counted
    policy: CompiledPolicy
    arguments: bytes  # canonical; null where they have no JSON form
    arguments_digest: str
    digest: str  # of agent, skill, exact arguments and policy version: what an approval is bound to
    decision: Decision

    @property
    def agent_id(self) -> str:
        """The agent's id as columns and logs can hold it."""
        return recordable_id(self.call.request.principal.agent_id)

    @property
    def skill_id(self) -> str:
        """The skill's id as columns and logs can hold it."""
        return recordable_id(self.call.request.action.skill_id)


def judge(call: Call, *, refusal: tuple[Reason, str] | None = None) -> Judged:
    """Return what the rules in force say to `call`; with a `refusal` no rule is asked."""
    policy = policy_in_force()
    try:
        arguments, is_whole = dump_arguments(call.arguments), True
    except TypeError:
        arguments, is_whole = b"null", False
    call = _measure(call, arguments)
    if refusal is not None:
        decision = deny(policy.version, *refusal)
    elif is_whole:
        decision = _decide(call, policy)
    else:
        decision = deny(policy.version, Reason.INPUT_INVALID, "the arguments cannot be written down as JSON")
    arguments_digest = sha256(arguments).hexdigest()
    agent_id, skill_id = call.request.principal.agent_id, call.request.action.skill_id
    digest = bind_digest(recordable_id(agent_id), recordable_id(skill_id), arguments_digest, policy.version)
    return Judged(
        call=call,
        policy=policy,
        arguments=arguments,
        arguments_digest=arguments_digest,
        digest=digest,
        decision=decision,
    )


def _measure(call: Call, arguments: bytes) -> Call:
    resource = replace(call.request.resource, argument_bytes=len(arguments))
    return replace(call, request=replace(call.request, resource=resource))


def _decide(call: Call, policy: CompiledPolicy) -> Decision:
    try:
        return decide(policy, _normalise(call.request), now=call.now)
    except NotNormal as error:
        return deny(policy.version, error.reason, error.detail)
    except Exception as error:  # the edge of the gate, as in decide()
        return deny(policy.version, Reason.INPUT_INVALID, f"what the call touches is unclear ({type(error).__name__})")


def _normalise(request: Request) -> Request:
    """Return `request` as rules can judge it: what is no id is unknown, hosts and paths are in normal form."""
    principal, action = request.principal, request.action
    if not is_plain_id(principal.agent_id):
        return replace(request, principal=replace(principal, status="unknown"), resource=Resource())
    if not is_plain_id(action.skill_id):
        return replace(request, action=replace(action, known=False), resource=Resource())
    resource = normalise_resource(request.resource)
    return request if resource is request.resource else replace(request, resource=resource)
