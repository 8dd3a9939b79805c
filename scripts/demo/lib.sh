# shellcheck shell=bash
# Helpers of the demo: what it prints, how it asks the database, and how it leaves no trace.

if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi

step_number=0
step() { printf '\n%s%d. %s%s\n' "$bold" $((++step_number)) "$*" "$plain"; }
note() { printf '%s\n' "$*"; }
line() { printf '  %-40s %24s\n' "$@"; }
fail() { printf '\n%sdemo: FAILED: %s%s\n' "$bold" "$*" "$plain" >&2; exit 1; }

# Prints a command as a person would type it, and runs it.
show() { say_command "$*"; "$@"; }
say_command() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; }

# Milliseconds since some moment in the past.
now_ms() { printf '%d' $((${EPOCHREALTIME/./} / 1000)); }
seconds() { printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100)); }
mib() { printf '%d.%d MiB' $(($1 / 1048576)) $(($1 % 1048576 * 10 / 1048576)); }
speed() { printf '%d MiB/s' $(($1 * 1000 / 1048576 / ($2 > 0 ? $2 : 1))); }

# timed VARIABLE COMMAND...: runs it, and keeps how many milliseconds it took.
timed() {
    local -n took=$1
    local from
    from=$(now_ms)
    shift
    "$@"
    # shellcheck disable=SC2034 # whoever calls reads it
    took=$(($(now_ms) - from))
}

# begin PROGRAM: a directory of its own, and nothing of the caller's that would reach into it.
begin() {
    WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/rekindle-demo.XXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    chmod 711 "$WORK"
    cd "$WORK" || return
    PATH=$(dirname "$1"):$PGBIN:$PATH
    export PATH REKINDLE_CONFIG=$WORK/rekindle.yaml REKINDLE_RUN_DIR=$WORK/run/rekindle STATE_DIRECTORY=$WORK/state
    unset PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGOPTIONS REDISCLI_AUTH
}

# remove DIR...: what is about to die may still make a file.
remove() {
    until rm -rf -- "$@" 2>/dev/null; do sleep 0.02; done
}

sql() { psql -X -q -At -v ON_ERROR_STOP=1 -h "$WORK/run/db" -U postgres "$@"; }

# fingerprint DATABASE [PSQL OPTIONS]: of each table its rows and a sum over 64-bit hashes of all
# of them; that of the orders, which changes all the time, is left out.
fingerprint() {
    local database=$1
    shift
    sql -d "$database" "$@" -F ' ' <<'SQL'
SELECT format('SELECT %L, count(*), sum(hashtextextended(t::text, 0)::numeric),
                      sum(hashtextextended(t::text, 1)::numeric) FROM %I.%I AS t',
              relname, nspname, relname)
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND nspname = 'public' AND relname <> 'orders' ORDER BY relname \gexec
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

# compare AT_LEAST [--of-one-point]: all three stores against what customers were told.
compare() {
    python3 "$repository/scripts/demo/compare.py" customers/told data/uploads \
        "host=$WORK/run/db user=postgres dbname=shop" "$WORK/run/cache/redis.sock" "$@" 2>run/compared ||
        { cat run/compared >&2; exit 1; }
    [[ ! -s run/compared ]] ||
        # shellcheck disable=SC2034 # the figures at the end
        read -r orders lost_rows lost_keys_seconds lost_files_seconds <run/compared
}

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
    local status=$?
    trap - EXIT INT TERM HUP
    set +e
    stop_receiver
    kill_stack >/dev/null
    forget_memory
    if ((status)) && [[ -d $WORK/run ]]; then
        tail -n 5 "$WORK"/run/*.log >&2
    fi
    cd /
    if [[ -n ${KEEP-} ]]; then
        printf '\nkept: %s\n' "$WORK"
    else
        remove "$WORK"
    fi
    exit "$status"
}
