# One image for every role: `docker run IMAGE` serves pages and API, `docker run IMAGE worker` is any other command.
# docs/decisions/0044 tells what is in it, what is not, and why.

FROM python:3.13-slim AS packages
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils=2.* tini=0.19.* \
    && rm -rf /var/lib/apt/lists/*
COPY requirements-tracing.lock /tmp/
# An index of the house: `docker build --secret id=pip,src=pip.conf .`; neither it nor the cache is in any layer.
# Debugging symbols are a tenth of the packages.
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/venv/bin/python --disable-pip-version-check install --quiet --no-compile \
        --require-hashes --no-deps -r /tmp/requirements-tracing.lock \
    && find /opt/venv -name '*.so*' -type f -exec strip --strip-debug {} + \
    && chmod -R u=rwX,go=rX /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1

# Static files are collected, and of the languages none but the default's forms of numbers is read (USE_I18N is off).
FROM packages AS trimmed
RUN find /opt/venv/lib -depth -type d \( -name static -o -name tests -o -path '*/django/conf/locale/[!e]*' \
    -o -name locale ! -path '*/django/conf/locale' \) -exec rm -r {} +

# What the code writes is for its owner alone, and so are the files of some checkouts; here anybody may read them.
FROM packages AS build
WORKDIR /app
COPY . .
RUN SECRET_KEY=static python manage.py collectstatic --noinput --verbosity 0 \
    && SECRET_KEY=static PYTHONPATH=. python deploy/image/finish.py /opt/bytecode \
    && rm -r deploy requirements-tracing.lock \
    && chmod -R u=rwX,go=rX /app /opt/bytecode

FROM python:3.13-slim
# Nothing is installed in production: pip goes. Numbers stay the same on every machine that mounts the volume.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.13/ensurepip /usr/local/lib/python3.13/*-packages/pip* \
    && groupadd --gid 1001 orchestrator \
    && useradd --uid 1001 --gid 1001 --no-log-init --no-create-home --home-dir /var/lib/orchestrator orchestrator \
    && install -d -o 1001 -g 1001 -m 0700 /var/lib/orchestrator
COPY --from=packages /usr/bin/tini /usr/bin/tini
COPY --from=trimmed /opt/venv /opt/venv
COPY --from=build /opt/bytecode /
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORCHESTRATOR_VAR=/var/lib/orchestrator \
    METRICS_HOST=0.0.0.0 \
    METRICS_PORT=9464
WORKDIR /app
USER 1001:1001
VOLUME ["/var/lib/orchestrator"]
EXPOSE 3000 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-S", "/app/orchestrator_site/probe.py", "http://127.0.0.1:9464/health"]
ENTRYPOINT ["tini", "--", "python", "/app/manage.py"]
CMD ["serve", "--only", "web", "--host", "0.0.0.0"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="orchestrator" \
      org.opencontainers.image.description="Orchestrator and admin console for a fleet of LLM agents" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
