# Make the orchestrator's own role, which owns its database and nothing else. Read by the image at the first start,
# as the superuser, within the image's own script: so nothing is set here that it would keep.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres \
    --set=password="$(cat /run/secrets/postgres_password)" <<'SQL'
CREATE ROLE orchestrator LOGIN PASSWORD :'password';
CREATE DATABASE orchestrator OWNER orchestrator;
REVOKE ALL ON DATABASE orchestrator FROM PUBLIC;
SQL
