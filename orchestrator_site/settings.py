"""Settings: the embedded defaults of a laptop, each replaced by one variable in production."""

import os
from pathlib import Path

from django.utils.csp import CSP

from orchestrator_site.env import (
    find_or_make_secret,
    parse_database_url,
    read_address,
    read_flag,
    read_int,
    read_list,
    read_networks,
    read_pairs,
    read_pounds,
    read_prices,
    read_rate,
    read_text,
    read_url,
)

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = Path(os.environ.get("ORCHESTRATOR_VAR") or BASE_DIR / "var").absolute()
WORKSPACE_ROOT = Path(os.environ.get("WORKSPACE_ROOT") or VAR / "workspace").absolute()
PORT = read_int("PORT", 3000)

DEBUG = False
SECRET_KEY_IS_GIVEN = bool(read_text("SECRET_KEY"))  # else each state folder has one of its own
SECRET_KEY = read_text("SECRET_KEY") or find_or_make_secret(VAR / "secret_key")
SECRET_KEY_FALLBACKS = read_text("SECRET_KEY_FALLBACKS").split()  # earlier ones, which still open what they sealed
ALLOWED_HOSTS = read_list("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django_prometheus",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "audit",
    "toolgate",
    "agents",
    "orchestrator_site",
]

MIDDLEWARE = [
    "orchestrator_site.middleware.RequestIdMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "orchestrator_site.middleware.PrivateMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "orchestrator_site.middleware.ActorMiddleware",
    "orchestrator_site.middleware.ProfileMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "orchestrator_site.entering.middleware.EnteringMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "orchestrator_site.observing.requests.BoundedMetricsMiddleware",
]

ROOT_URLCONF = "orchestrator_site.urls"
ASGI_APPLICATION = "orchestrator_site.asgi.application"
WSGI_APPLICATION = "orchestrator_site.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.csp",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "orchestrator_site.console.console_context",
            ],
        },
    },
]

# --- stores ---------------------------------------------------------------------------------------------------
DATABASES = {
    "default": parse_database_url(read_text("STATE_DATABASE_URL"), default_path=VAR / "state.sqlite3"),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The guide that operators follow calls the MongoDB address DATABASE_URL; empty means the embedded one, whose
# address is found in MONGODB_URI_FILE once it has started.
MONGODB_URI = read_address("DATABASE_URL", completed_by="MONGO_PASSWORD")
# What changes or removes documents there, or makes indexes, may log in by another name than what adds and reads.
MONGODB_ARCHIVE_URI = read_address("DATABASE_ARCHIVE_URL", completed_by="MONGO_ARCHIVE_PASSWORD")
MONGODB_URI_FILE = VAR / "run" / "mongodb.uri"
MONGODB_DATABASE = "orchestrator"
# Checkpoints of the audit log are signed with a key that no database holds, and are kept in a second place.
AUDIT_SIGNING_KEY = read_text("AUDIT_SIGNING_KEY")
AUDIT_KEY_FILE = VAR / "keys" / "audit-signing.pem"
AUDIT_ORIGIN = os.environ.get("AUDIT_ORIGIN") or "orchestrator/audit"
AUDIT_CHECKPOINT_DIR = Path(os.environ.get("AUDIT_CHECKPOINT_DIR") or VAR / "checkpoints").absolute()
AUDIT_CHECKPOINT_WEBHOOK = read_url("AUDIT_CHECKPOINT_WEBHOOK")
AUDIT_HEARTBEAT_SECONDS = read_int("AUDIT_HEARTBEAT_SECONDS", 300, minimum=1)  # of silence; then an event says so
# Older runs of the log move to files, whole and with their proofs; 0 days: none ever does.
AUDIT_RETENTION_DAYS = read_int("AUDIT_RETENTION_DAYS", 0)
AUDIT_ARCHIVE_DIR = Path(os.environ.get("AUDIT_ARCHIVE_DIR") or VAR / "archives").absolute()
EMBEDDED_MONGODB_COMMAND = os.environ.get("EMBEDDED_MONGODB_COMMAND", "")

REDIS_URL = read_address("REDIS_URL", completed_by="REDIS_PASSWORD")
if REDIS_URL:
    CACHES = {"default": {"BACKEND": "orchestrator_site.cache.SharedCache", "LOCATION": REDIS_URL}}
    TASKS = {"default": {"BACKEND": "agents.engine.DocketBackend"}}
else:
    CACHES = {"default": {"BACKEND": "orchestrator_site.cache.OwnCache"}}
    TASKS = {"default": {"BACKEND": "agents.engine.InProcessBackend"}}

# --- how it ends ----------------------------------------------------------------------------------------------
SHUTDOWN_DRAIN_SECONDS = read_int("SHUTDOWN_DRAIN_SECONDS", 0)  # answering on, not ready: a balancer looks elsewhere
SHUTDOWN_GRACE_SECONDS = read_int("SHUTDOWN_GRACE_SECONDS", 1)  # for answers under way, once nothing more is taken
WORKER_DRAIN_SECONDS = read_int("WORKER_DRAIN_SECONDS", 2)  # for runs under way; the rest is given back

# --- the fleet ------------------------------------------------------------------------------------------------
MAX_AGENTS = read_int("MAX_AGENTS", 40, minimum=1)
RESERVED_SLOTS = read_int("RESERVED_SLOTS", MAX_AGENTS // 8)  # kept free for high priority
MAX_TASKS_PER_SECOND = read_int("MAX_TASKS_PER_SECOND", 100, minimum=1)
AUDIT_BACKLOG_LIMIT = read_int("AUDIT_BACKLOG_LIMIT", 100_000, minimum=1)  # events that wait; then no new tasks
APPROVAL_SLA_SECONDS = read_int("APPROVAL_SLA_SECONDS", 900, minimum=1)
APPROVAL_EXPIRY_SECONDS = read_int("APPROVAL_EXPIRY_SECONDS", 86_400, minimum=1)
# A tier is a name for a model, and for the one of the other vendor that takes over in an outage.
MODEL_TIERS = {
    "cheap": os.environ.get("MODEL_TIER_CHEAP") or "openai:gpt-6-luna",
    "balanced": os.environ.get("MODEL_TIER_BALANCED") or "anthropic:claude-sonnet-5-5",
}
MODEL_FALLBACKS = {
    "cheap": os.environ.get("MODEL_TIER_CHEAP_FALLBACK", "anthropic:claude-haiku-5-5"),
    "balanced": os.environ.get("MODEL_TIER_BALANCED_FALLBACK", "openai:gpt-6.1-terra"),
}
OPENAI_API_KEY = read_text("OPENAI_API_KEY")
OPENAI_BASE_URL = os.environ.get("OPENAI_BASE_URL", "")
OPENAI_API = os.environ.get("OPENAI_API", "auto")  # "responses", "chat", or "auto": chat where there is no other
ANTHROPIC_API_KEY = read_text("ANTHROPIC_API_KEY")
ANTHROPIC_BASE_URL = os.environ.get("ANTHROPIC_BASE_URL", "")
DEMO = read_flag("ORCHESTRATOR_DEMO", False)  # the provider is a scripted stand-in, and every page says so

# --- webhooks -------------------------------------------------------------------------------------------------
# Networks of the house that webhooks may reach beside public addresses; sourceFetch never may.
WEBHOOK_ALLOWED_NETWORKS = read_networks("WEBHOOK_ALLOWED_NETWORKS")
CONSOLE_URL = (read_url("CONSOLE_URL") or f"http://127.0.0.1:{PORT}").rstrip("/")  # what links in webhooks begin with

# --- money ----------------------------------------------------------------------------------------------------
COST_BUDGET_CAP = read_pounds("COST_BUDGET_CAP", "20")  # a calendar month, hard: nobody raises it in the console
USD_PER_GBP = read_rate("USD_PER_GBP", "1.31@2026-11-01")  # the rate and the day that it is of
MODEL_PRICES = read_prices("MODEL_PRICES")  # of models without a list price: openai:llama3.2=0/0, USD a million
REDACT_PATTERNS = read_text("REDACT_PATTERNS").splitlines()  # google-re2, one a line, beside the built-in ones
FLEET_DIR = BASE_DIR / "agents" / "fleet"
POLICY_SEED = BASE_DIR / "toolgate" / "seed" / "policy.toml"
EXAMPLES_DIR = BASE_DIR / "examples"
TASK_DEADLINE_SECONDS = 3600  # how long a task may wait for its rate before it fails `rate_limited`
MAX_UPLOAD_BYTES = 10_000_000
MAX_BODY_BYTES = 1_000_000
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
FILE_UPLOAD_PERMISSIONS = 0o600

# --- who may enter --------------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_ADAPTER = "orchestrator_site.entering.accounts.ClosedSignupAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_RATE_LIMITS = {"login_failed": "5/5m/key,50/m/ip", "oidc": "60/m/ip", "passkey": "60/m/ip"}
# Roles whose holders need a second factor before they may open any other page.
REQUIRE_MFA = read_list("REQUIRE_MFA", [])
MFA_ADAPTER = "orchestrator_site.entering.factors.FactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_RATE_LIMITS = {"webauthn_login": "30/m/ip"}
# Logins by another provider: OpenID Connect, found by its issuer.
OIDC_ISSUER = read_url("OIDC_ISSUER")
OIDC_CLIENT_ID = os.environ.get("OIDC_CLIENT_ID", "")
OIDC_CLIENT_SECRET = read_text("OIDC_CLIENT_SECRET")
OIDC_NAME = os.environ.get("OIDC_NAME") or "Single sign-on"
OIDC_ROLE_CLAIM = os.environ.get("OIDC_ROLE_CLAIM", "")  # of the ID token; without it no account made so has a role
OIDC_ROLES = read_pairs("OIDC_ROLES")  # role by the claim's value; empty: the values are names of roles
SOCIALACCOUNT_ADAPTER = "orchestrator_site.entering.oidc.ProviderAdapter"
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "oidc",
                "name": OIDC_NAME,
                "client_id": OIDC_CLIENT_ID,
                "secret": OIDC_CLIENT_SECRET,
                "settings": {"server_url": OIDC_ISSUER},
            }
        ]
        if OIDC_ISSUER
        else [],
    }
}
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
HTTPS_ONLY = read_flag("HTTPS_ONLY", False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS_ONLY
SECURE_HSTS_SECONDS = read_int("HSTS_SECONDS", 31_536_000) if HTTPS_ONLY else 0  # told over https alone
FORWARDED_ALLOW_IPS = read_list("FORWARDED_ALLOW_IPS", [])  # proxies whose X-Forwarded headers uvicorn believes
SECURE_CSP = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.SELF],
    "style-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "font-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
    "base-uri": [CSP.NONE],
}

# --- API ------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["orchestrator_site.tokens.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["orchestrator_site.roles.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["orchestrator_site.parsers.StrictJsonParser"],
    "DEFAULT_RENDERER_CLASSES": ["orchestrator_site.parsers.OrjsonRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "orchestrator_site.parsers.JsonOnlyNegotiation",
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "orchestrator_site.operations.ScopedSchema",
    "EXCEPTION_HANDLER": "orchestrator_site.errors.handle_exception",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Orchestrator",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.1",
    "DESCRIPTION": "Orders to a fleet of agents, what became of them, and the trail of why each was allowed.",
    "POSTPROCESSING_HOOKS": ["orchestrator_site.schema.complete_schema"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"validatorUrl": None, "deepLinking": True},
}

# --- pages ----------------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en-gb"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# --- observability --------------------------------------------------------------------------------------------
PROMETHEUS_ENABLED = read_flag("PROMETHEUS_ENABLED", True)
METRICS_PORT = read_int("METRICS_PORT", 0)  # where each process answers for itself, without a token; 0: nowhere
METRICS_HOST = os.environ.get("METRICS_HOST") or "127.0.0.1"
PROMETHEUS_METRIC_NAMESPACE = "orchestrator"
PROMETHEUS_LATENCY_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, float("inf"))  # of each view and method
GRAFANA_URL = read_url("GRAFANA_URL")  # what the system page links to, where there is one
ALERTMANAGER_URL = read_url("ALERTMANAGER_URL")
LOG_LEVEL = os.environ.get("LOG_LEVEL", "INFO").upper()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "orchestrator_site.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    # A refusal is logged once, by the request log, with its id.
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django.server": {"level": "WARNING"},
        "docket.worker": {"level": "WARNING"},
        "opentelemetry": {"level": "ERROR"},  # a collector that is away is told of once a batch
        "docket.strikelist": {"level": "ERROR"},  # each second, of a Redis that is away: the engine says so once
        # At DEBUG these would write down prompts.
        **{name: {"level": "WARNING"} for name in ("anthropic", "httpcore2", "httpx2", "openai")},
    },
}
SILENCED_SYSTEM_CHECKS = [
    # Who ends TLS sends people on to https: probes, scrapes and Alertmanager speak to this process itself, without TLS.
    "security.W008",
    # What other hosts of the domain do is not this installation's to promise.
    "security.W005",
    "security.W021",
]
