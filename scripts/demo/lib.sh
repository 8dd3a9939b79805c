# shellcheck shell=bash
# Helpers of the demo: what it prints, the servers it starts, and how it leaves no trace.

PGBIN=/usr/lib/postgresql/15/bin

if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi

step_number=0
step() { printf '\n%s%d. %s%s\n' "$bold" $((++step_number)) "$*" "$plain"; }
note() { printf '%s\n' "$*"; }
fail() { printf '\n%sdemo: FAILED: %s%s\n' "$bold" "$*" "$plain" >&2; exit 1; }

# Prints a command as a person would type it, and runs it.
show() { say_command "$*"; "$@"; }
say_command() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; }

# Milliseconds since some moment in the past.
now_ms() { printf '%d' $((${EPOCHREALTIME/./} / 1000)); }
seconds() { printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100)); }
mib() { printf '%d.%d MiB' $(($1 / 1048576)) $(($1 % 1048576 * 10 / 1048576)); }
speed() { printf '%d MiB/s' $(($1 * 1000 / 1048576 / ($2 > 0 ? $2 : 1))); }

# The server refuses to run as root; its files are its own user's.
server_user=postgres
[[ $(id -u) == 0 ]] || server_user=$(id -un)
as_server() {
    if [[ $(id -u) == 0 ]]; then
        setpriv --reuid="$server_user" --regid="$server_user" --init-groups "$@"
    else
        "$@"
    fi
}

# make_server DIR: a cluster with page checksums, reached only by a socket in $WORK/run.
make_server() {
    install -d -m 700 -o "$server_user" run
    install -d -m 700 -o "$server_user" "$1"
    as_server "$PGBIN/initdb" -D "$1" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --data-checksums >/dev/null
    # Shared memory in its directory: a server that is killed leaves nothing elsewhere.
    cat >>"$1/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$WORK/run'
dynamic_shared_memory_type = mmap
shared_buffers = 256MB
max_wal_size = 2GB
jit = off
CONF
}

# Ids of the servers that run, and of their System V shared memory, which a killed one leaves.
declare -A servers=()
segments=()

# start_server DIR [OPTIONS]
start_server() {
    local directory=$1 options=${2-}
    as_server "$PGBIN/pg_ctl" -D "$directory" -l "$WORK/run/log" -o "$options" -w -t 60 start >/dev/null ||
        { tail -n 20 "$WORK/run/log" >&2; fail "PostgreSQL does not start on $directory"; }
    servers[$directory]=$(head -n 1 "$directory/postmaster.pid")
    segments+=("$(sed -n 7p "$directory/postmaster.pid" | awk '{ print $2 }')")
}

# A restored server answers when it has replayed its WAL, and not before.
await_recovery() {
    local _
    for _ in {1..600}; do
        sql -d postgres -c 'SELECT 1' >/dev/null 2>&1 && return
        sleep 0.1
    done
    fail 'the restored server is still in recovery after a minute'
}

stop_server() {
    as_server "$PGBIN/pg_ctl" -D "$1" -m immediate -w stop >/dev/null || true
    unset "servers[$1]"
}

# kill_server DIR: it and all its processes, at once.
kill_server() {
    local pid=${servers[$1]}
    # shellcheck disable=SC2046 # one word for each process
    kill -9 "$pid" $(cat "/proc/$pid/task/$pid/children")
    # As on a new machine. The next server would take the dead one for alive until somebody has
    # waited for it, which the first process of some containers never does.
    rm -f "$WORK"/run/.s.PGSQL.*
    unset "servers[$1]"
}

sql() { psql -X -q -At -v ON_ERROR_STOP=1 -h "$WORK/run" -U postgres "$@"; }

# fingerprint DATABASE [PSQL OPTIONS]: of each table its rows and a sum over 64-bit hashes of all
# of them; the ledger, which changes all the time, is left out.
fingerprint() {
    local database=$1
    shift
    sql -d "$database" "$@" -F ' ' <<'SQL'
SELECT format('SELECT %L, count(*), sum(hashtextextended(t::text, 0)::numeric),
                      sum(hashtextextended(t::text, 1)::numeric) FROM %I.%I AS t',
              relname, nspname, relname)
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND nspname = 'public' AND relname <> 'ledger' ORDER BY relname \gexec
SQL
}

# same_tables EXPECTED ACTUAL: compares two fingerprints and says so, table by table.
same_tables() {
    local table rows hashes found different=0
    while read -r table rows hashes; do
        found=$(grep "^$table " "$2" || true)
        if [[ $found == "$table $rows $hashes" ]]; then
            printf '  %-12s %9s rows   identical\n' "$table" "$rows"
        else
            printf '  %-12s %9s rows   DIFFERENT: %s\n' "$table" "$rows" "${found:-missing}"
            different=1
        fi
    done <"$1"
    [[ -s $1 && $(wc -l <"$1") == $(wc -l <"$2") && $different == 0 ]] || fail "the tables differ"
}

# A client that inserts a numbered row about a hundred times a second, and keeps what was acknowledged.
writer=
start_writer() {
    : >acknowledged
    psql -X -q -At -h "$WORK/run" -U postgres -d shop >acknowledged 2>run/writer.log \
        <<<'INSERT INTO ledger DEFAULT VALUES RETURNING n \watch 0.01' &
    writer=$!
}
stop_writer() {
    [[ -n $writer ]] || return 0
    kill "$writer" 2>/dev/null || true
    wait "$writer" 2>/dev/null || true
    writer=
}
# How many rows the server has acknowledged; the writer's numbers have no gaps.
acknowledged() { grep -cE '^[0-9]+$' acknowledged || true; }

# What streams WAL into the vault, as a service of systemd does on a real machine.
receiver=
start_receiver() {
    rekindle --quiet wal stream 2>run/receiver.log &
    receiver=$!
}
stop_receiver() {
    [[ -n $receiver ]] || return 0
    kill "$receiver" 2>/dev/null || true
    wait "$receiver" 2>/dev/null || true
    receiver=
}

# clean_up: however the demo ends.
clean_up() {
    local status=$? pid segment
    trap - EXIT INT TERM HUP
    set +e
    stop_receiver
    stop_writer
    for pid in "${servers[@]}"; do
        kill -QUIT "$pid" 2>/dev/null
        for _ in {1..100}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
    done
    for segment in "${segments[@]}"; do ipcrm -m "$segment" 2>/dev/null; done
    cd /
    if [[ -n ${KEEP-} ]]; then
        printf '\nkept: %s\n' "$WORK"
    else
        rm -rf -- "$WORK"
    fi
    exit "$status"
}
