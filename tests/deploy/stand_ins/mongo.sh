# The embedded MongoDB in the place of `mongod --auth --bind_ip_all`. It tells clients to come to the address it listens on.
exec /opt/secantusdb.scripts/secantusd-rs --host "$(hostname -i)" --port 27017 --storage-path /data/db/store \
    --cache-size 256M --sync-on-commit --auth
