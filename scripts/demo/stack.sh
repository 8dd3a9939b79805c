# shellcheck shell=bash
# The demo's stack: its configuration, its data, and how it is destroyed.

PGBIN=/usr/lib/postgresql/15/bin

services=(db cache app)

# user_for SERVICE NAME: whose its files and its process are. Servers refuse to run as root; whoever is not root has
# no choice.
user_for() {
    if [[ $(id -u) != 0 ]]; then
        id -un
    elif id "$1" >/dev/null 2>&1; then
        printf '%s\n' "$1"
    else
        printf 'nobody\n'
    fi
}
db_user=$(user_for postgres)
cache_user=$(user_for redis)
app_user=$(user_for nobody)
# shellcheck disable=SC2034 # a restore as root says whose the files become
owner_of_cache=()
[[ $(id -u) != 0 ]] || owner_of_cache=(--owner "$cache_user")

as_db() {
    if [[ $(id -u) == 0 ]]; then
        setpriv --reuid="$db_user" --regid="$(id -g "$db_user")" --init-groups "$@"
    else
        "$@"
    fi
}

# A port that nobody listens at now.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# make_stack: directories, each its user's, a cluster with page checksums that is reached by a socket alone, a
# password, and rekindle.yaml.
make_stack() {
    install -d run data state
    install -d -o "$db_user" -g "$(id -g "$db_user")" run/db
    install -d -m 700 -o "$db_user" -g "$(id -g "$db_user")" data/db
    install -d -o "$cache_user" -g "$(id -g "$cache_user")" run/cache data/cache
    install -d -o "$app_user" -g "$(id -g "$app_user")" customers data/uploads
    as_db "$PGBIN/initdb" -D data/db -U postgres -A trust -E UTF8 --locale=C.UTF-8 --data-checksums --no-sync >/dev/null
    # Shared memory in its directory: a server that is killed leaves nothing elsewhere.
    cat >>data/db/postgresql.conf <<CONF
listen_addresses = ''
unix_socket_directories = '$WORK/run/db'
dynamic_shared_memory_type = mmap
shared_buffers = 256MB
max_wal_size = 2GB
jit = off
CONF
    cat >cache.conf <<CONF
port 0
unixsocket $WORK/run/cache/redis.sock
unixsocketperm 777
dir $WORK/data/cache
repl-diskless-sync-delay 0
CONF
    (umask 077 && openssl rand -hex 20 >password)
    write_configuration
}

write_configuration() {
    local port
    port=$(free_port)
    user() { [[ $(id -u) != 0 ]] || printf '\n      user: %s' "$1"; }
    places() { printf 'log: run/%s.log\n      pid_file: run/%s.pid' "$1" "$1"; }
    cat >rekindle.yaml <<CONFIG
stack: demo
runtime: { kind: process }
vault: { at: vault, password_file: password }
services:
  db:
    datasets:
      - kind: postgres
        url: "postgres:///postgres?host=$WORK/run/db&user=postgres"
        logical: [shop]
        wal: stream
        wal_spool: spool
        stop_command: rekindle --quiet service stop db
        start_command: rekindle --quiet service up db
    run:
      command: [postgres, -D, data/db]$(user "$db_user")
      stop_signal: SIGINT
      $(places db)
    health: { command: "psql -h $WORK/run/db -U postgres -Atc 'SELECT pg_is_in_recovery()' | grep -qx f" }
  cache:
    datasets: [ { kind: redis, url: "unix://$WORK/run/cache/redis.sock" } ]
    run:
      command: [redis-server, cache.conf]$(user "$cache_user")
      $(places cache)
    health: { command: "redis-cli -s run/cache/redis.sock ping | grep -qx PONG" }
  app:
    datasets: [ { kind: files, paths: [data/uploads] } ]
    depends_on: [db, cache]
    run:
      command: [./app.sh, "$port"]$(user "$app_user")
      $(places app)
    health: { http: "http://127.0.0.1:$port/healthz", expect: { status: ok } }
CONFIG
    cp "$repository/scripts/demo/app.py" .
    cat >app.sh <<SCRIPT
#!/bin/sh
exec python3 app.py data/uploads customers/told "\$1" "host=$WORK/run/db user=postgres dbname=shop" run/cache/redis.sock
SCRIPT
    chmod 755 app.sh app.py
}

# The tables, of which the application fills one.
fill_database() {
    sql -d postgres -c 'CREATE DATABASE shop'
    sql -d shop -v accounts="${ACCOUNTS:-800000}" -v documents="${DOCUMENTS:-60000}" -v images="${IMAGES:-3000}" \
        -f "$repository/scripts/bench/database.sql"
    sql -d shop -c 'CREATE TABLE orders (n bigint PRIMARY KEY, file text NOT NULL, sha256 text NOT NULL,
        written timestamptz NOT NULL DEFAULT clock_timestamp())'
    note "database shop: $(mib "$(sql -d shop -c "SELECT pg_database_size('shop')")") in accounts, documents, images and orders"
}

# How many orders customers were told of.
told() { if [[ -f customers/told ]]; then wc -l <customers/told; else printf '0\n'; fi; }

# await_orders N: until there are more.
await_orders() {
    local _
    for _ in {1..600}; do
        (($(told) > $1)) && return
        sleep 0.1
    done
    fail 'the application takes no orders'
}

# Shared memory of System V: a killed server leaves it.
segments=()
forget_memory() {
    local segment
    for segment in "${segments[@]}"; do ipcrm -m "$segment" 2>/dev/null || true; done
}

# with_children ID...: these processes and all that they started.
with_children() {
    local pid
    for pid in "$@"; do
        printf '%s\n' "$pid"
        # shellcheck disable=SC2046 # one word for each process
        with_children $(cat "/proc/$pid/task/"*/children 2>/dev/null)
    done
}

# kill_stack: each service, all its processes and who watches it, at once.
kill_stack() {
    local service pid parent all=()
    for service in "${services[@]}"; do
        [[ -s run/$service.pid ]] || continue
        pid=$(<"run/$service.pid")
        [[ -d /proc/$pid ]] || continue
        # Its supervisor first, which would start it again; without one it is a child of the system's first process.
        parent=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status")
        [[ $parent == 1 ]] || all+=("$parent")
        # shellcheck disable=SC2046 # one word for each process
        all+=($(with_children "$pid"))
    done
    [[ ! -s data/db/postmaster.pid ]] ||
        segments+=("$(sed -n 7p data/db/postmaster.pid | awk '{ print $2 }')")
    ((${#all[@]})) || return 0
    say_command "kill -9 ${all[*]}"
    kill -9 "${all[@]}" 2>/dev/null || true
    # As on a new machine. The next server would take the dead one for alive until somebody has
    # waited for it, which the first process of some containers never does.
    rm -f run/db/.s.PGSQL.*
}
