"""The API's addresses. `/api/tasks/{id}/events` and `/metrics` are streams and scrapes: see `routing`."""

from django.urls import URLPattern, URLResolver, path, re_path

from agents import api as agents
from agents.money.views import Budget
from agents.switches import api as switches
from agents.transcript.api import TaskTranscript
from audit.exploring.api import AuditEventList
from orchestrator_site.health import DeepHealth
from orchestrator_site.schema import SchemaView, show_docs, show_schema_file
from toolgate.editing import api as policy
from toolgate.explaining import api as explaining
from toolgate.inbox import api as approvals
from toolgate.replay import api as replay

TASK = r"^tasks/(?P<task_id>[a-zA-Z0-9._-]{1,64})"
APPROVAL = r"^approvals/(?P<approval_id>[a-zA-Z0-9._-]{1,64})"

urlpatterns: list[URLPattern | URLResolver] = [
    path("health/deep", DeepHealth.as_view()),
    path("agents", agents.AgentCollection.as_view()),
    re_path(r"^agents/(?P<agent_id>[a-zA-Z0-9._-]{1,64})$", agents.AgentDetail.as_view()),
    re_path(r"^agents/(?P<agent_id>[a-zA-Z0-9._-]{1,64})/status$", switches.AgentSwitch.as_view()),
    path("skills", agents.SkillCollection.as_view()),
    re_path(r"^skills/(?P<skill_id>[a-zA-Z0-9._-]{1,64})/status$", switches.SkillSwitch.as_view()),
    path("fleet", switches.FleetSwitch.as_view()),
    path("files", agents.FileCollection.as_view()),
    path("workflows", agents.WorkflowCollection.as_view()),
    path("tasks", agents.TaskCollection.as_view()),
    re_path(TASK + r"$", agents.TaskDetail.as_view()),
    re_path(TASK + r"/cancel$", agents.TaskCancel.as_view()),
    re_path(TASK + r"/retry$", agents.TaskRetry.as_view()),
    re_path(TASK + r"/transcript$", TaskTranscript.as_view()),
    re_path(TASK + r"/artifacts/(?P<name>[^/\x00-\x1f\x7f]{1,200})$", agents.ArtifactDetail.as_view()),
    path("budget", Budget.as_view()),
    path("audit", AuditEventList.as_view()),
    path("approvals", approvals.ApprovalCollection.as_view()),
    re_path(APPROVAL + r"$", approvals.ApprovalDetail.as_view()),
    re_path(APPROVAL + r"/decision$", approvals.ApprovalDecision.as_view()),
    path("grants", approvals.GrantCollection.as_view()),
    re_path(r"^grants/(?P<grant_id>[a-zA-Z0-9._-]{1,64})/revoke$", approvals.GrantRevocation.as_view()),
    path("policy", policy.PolicyInForce.as_view()),
    path("policy/versions", policy.VersionCollection.as_view()),
    path("policy/explain", explaining.PolicyExplain.as_view()),
    path("policy/lint", explaining.PolicyLint.as_view()),
    path("policy/versions/<int:number>", policy.VersionDetail.as_view()),
    path("policy/versions/<int:number>/restore", policy.VersionRestore.as_view()),
    path("policy/what-if", replay.WhatIfCollection.as_view()),
    re_path(r"^policy/what-if/(?P<what_if_id>[a-zA-Z0-9._-]{1,64})$", replay.WhatIfDetail.as_view()),
    path("policy/shadow", replay.ShadowCollection.as_view()),
    path("policy/draft", policy.Draft.as_view()),
    path("policy/draft/publish", policy.DraftPublish.as_view()),
    path("schema/", SchemaView.as_view()),
    path("docs/", show_docs, name="api_docs"),
    path("docs/openapi.json", show_schema_file, name="api_docs_schema"),
]
