# Start Redis with the password of its secret, which so stands in no argument and in no environment.
# The orchestrator's user may use data; it can neither look at the configuration nor change it, nor empty everything.
set -eu
umask 077
cat /etc/redis/redis.conf >/tmp/redis.conf  # swarm's is read-only (0444), and a copy of it would be, too
echo "user default on ~* &* +@all -@admin -flushall -swapdb >$(cat /run/secrets/redis_password)" >>/tmp/redis.conf
exec redis-server /tmp/redis.conf
