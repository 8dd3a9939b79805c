#!/bin/sh
# Keeps the contract of the official image's entry point: options alone mean redis-server, which runs as the
# user `redis` (999) in /data.
set -eu
case ${1:-redis-server} in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "${1:-}" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis:redis {} +
    exec su redis -s /bin/sh -c 'exec "$0" "$@"' -- "$0" "$@"
fi
exec "$@"
