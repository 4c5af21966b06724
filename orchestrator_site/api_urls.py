"""The API's addresses. `/api/tasks/{id}/events` and `/metrics` are streams and scrapes: see `routing`."""

from django.urls import URLPattern, URLResolver, path, re_path

from agents import api as agents
from agents import fleet_api as fleet
from agents.bulk import api as bulk
from agents.money.views import Budget
from agents.switches import api as switches
from agents.transcript.api import TaskTranscript
from audit.exploring.api import AuditEventList
from orchestrator_site.alerts.api import AlertCollection
from orchestrator_site.health import DeepHealth
from orchestrator_site.schema import SchemaView, show_docs, show_schema_file
from orchestrator_site.webhooks import api as webhooks
from toolgate.editing import api as policy
from toolgate.explaining import api as explaining
from toolgate.inbox import api as approvals
from toolgate.replay import api as replay

TASK = r"^tasks/(?P<task_id>[a-zA-Z0-9._-]{1,64})"
APPROVAL = r"^approvals/(?P<approval_id>[a-zA-Z0-9._-]{1,64})"
WEBHOOK = r"^webhooks/(?P<webhook_id>[a-zA-Z0-9._-]{1,64})"
DELIVERY = r"^webhooks/deliveries/(?P<delivery_id>[a-zA-Z0-9._-]{1,64})"

urlpatterns: list[URLPattern | URLResolver] = [
    path("health/deep", DeepHealth.as_view()),
    path("alerts", AlertCollection.as_view()),
    path("agents", fleet.AgentCollection.as_view()),
    re_path(r"^agents/(?P<agent_id>[a-zA-Z0-9._-]{1,64})$", fleet.AgentDetail.as_view()),
    re_path(r"^agents/(?P<agent_id>[a-zA-Z0-9._-]{1,64})/status$", switches.AgentSwitch.as_view()),
    path("skills", fleet.SkillCollection.as_view()),
    re_path(r"^skills/(?P<skill_id>[a-zA-Z0-9._-]{1,64})/status$", switches.SkillSwitch.as_view()),
    path("fleet", switches.FleetSwitch.as_view()),
    path("files", agents.FileCollection.as_view()),
    path("workflows", agents.WorkflowCollection.as_view()),
    path("tasks", agents.TaskCollection.as_view()),
    path("tasks/bulk", bulk.BulkCollection.as_view()),
    re_path(r"^tasks/bulk/(?P<bulk_id>[a-zA-Z0-9._-]{1,64})$", bulk.BulkDetail.as_view()),
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
    path("webhooks", webhooks.WebhookCollection.as_view()),
    path("webhooks/deliveries", webhooks.DeliveryCollection.as_view()),
    re_path(DELIVERY + r"$", webhooks.DeliveryDetail.as_view()),
    re_path(DELIVERY + r"/retry$", webhooks.DeliveryRetry.as_view()),
    re_path(WEBHOOK + r"$", webhooks.WebhookDetail.as_view()),
    re_path(WEBHOOK + r"/rotate$", webhooks.WebhookRotation.as_view()),
    path("schema/", SchemaView.as_view()),
    path("docs/", show_docs, name="api_docs"),
    path("docs/openapi.json", show_schema_file, name="api_docs_schema"),
]
