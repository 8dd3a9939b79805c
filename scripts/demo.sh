#!/usr/bin/env bash
# Destroys a whole stack and brings it back, in front of you. `make demo` calls it.
#
# PostgreSQL, Redis and an application with files, run by Rekindle itself as ordinary processes: no Docker is needed. The
# application takes orders all the time, each a file, a row and a key that refer to each other. The stack is backed up twice while
# its WAL streams into the vault; a table is emptied by mistake; then everything is killed and deleted. It comes back in order, and
# every row, key and file is compared with what customers were told; then the database goes back to the moment before the mistake;
# then stock restic does without Rekindle. Fails if anything differs.
#
#   KEEP=1 scripts/demo.sh               leaves the files for a look
#   REKINDLE=FILE scripts/demo.sh        shows this program instead of building one
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
# shellcheck source=scripts/demo/lib.sh
source scripts/demo/lib.sh
# shellcheck source=scripts/demo/stack.sh
source scripts/demo/stack.sh
# shellcheck source=scripts/bench/build.sh
source scripts/bench/build.sh

program=$(build_rekindle "$repository")
begin "$program"

step "A stack: PostgreSQL, Redis, and an application with files"
make_stack
show cat rekindle.yaml
show rekindle --quiet vault init
show rekindle --quiet service up db cache
fill_database
show rekindle --quiet service up
show rekindle --quiet service list
note "The application takes orders from now on: a file, a row that names it, a key; then the customer is told."

step "WAL goes to the vault as it is written"
say_command "rekindle wal stream &"
start_receiver

step "The first backup: everything into one recovery point"
timed first_ms show rekindle --quiet backup
stored_first=$(du -sb vault | cut -f1)

step "Changes: 2 % of the rows, and customers go on"
sql -d shop -v round=7 -f "$repository/scripts/bench/churn.sql"
fingerprint shop >before-accident
note "rows and hashes of all tables but that of the orders are recorded"

step "The second backup"
told_before=$(told)
timed second_ms show rekindle --quiet backup
stored_second=$(du -sb vault | cut -f1)
show rekindle points
read -r first_size second_size second_added < <(rekindle --json points | python3 -c '
import json, sys
first, second = json.load(sys.stdin)["points"]
print(first["size_bytes"], second["size_bytes"], second["added_bytes"])')

step "The accident: a DELETE without its WHERE; nobody notices for a moment"
say_command "psql -d shop -c 'DELETE FROM documents'"
sql -d shop -c 'DELETE FROM documents'
sleep 1

step "The disaster: all of it, at once"
disaster=$(now_ms)
kill_stack
say_command "rm -rf data/*"
remove data/*
note "Servers, application and all they had are gone. $(told) orders had been taken by then."
stop_receiver
note "the receiver has put the last it received into the vault, and ended"

step "Back again: the last moment"
timed db_ms show rekindle --quiet restore --service db --at latest --to data/db
timed cache_ms show rekindle --quiet restore --service cache --to data/cache "${owner_of_cache[@]}"
timed files_ms show rekindle --quiet restore --service app --in-place --yes
restored_bytes=$(du -sb --exclude=pg_wal data/db | cut -f1)
note "The stores first, to look at them before anybody uses them:"
timed stores_ms show rekindle --quiet service up db cache
note "Every row, key and file, by its SHA-256, against what customers were told:"
compare "$told_before"
note "WAL brings rows back to the last moment; keys and files are as of the last recovery point."
note "But the documents are as the accident left them:"
sql -d shop -c "SELECT count(*) || ' documents' FROM documents"
before_app=$(told)
timed app_ms show rekindle --quiet service up
back_ms=$(($(now_ms) - disaster))
await_orders "$before_app"
note "Customers order again."

step "The database again, in place: just before the accident"
show rekindle wal find
before_accident=lsn:$(rekindle --json wal find | python3 -c '
import json, sys
for event in json.load(sys.stdin)["happenings"]:
    if any(table["name"] == "documents" and table["deleted"] > 1000 for table in event["tables"]):
        print(event["before"])')
show rekindle --quiet service stop app
timed in_place_ms show rekindle --quiet restore --service db --at "$before_accident" --exclusive --in-place --yes
fingerprint shop >after
same_tables before-accident after
note "What was there is set aside, not deleted: \`rekindle restore --service db --undo\` goes back to it."

step "One database out of the dump, beside the other"
show rekindle --quiet restore latest --service db --database shop --as shop_restored
fingerprint shop_restored >after-dump
same_tables before-accident after-dump

step "The same without Rekindle: stock $(restic version | cut -d' ' -f1-2) reads the vault"
show rekindle --quiet service down
say_command "rm -rf data/*"
remove data/*
timed restic_ms show restic -r vault --password-file password --no-cache --quiet restore latest --target from-restic
show mv from-restic/db/postgres/base data/db
show mv from-restic/cache/redis data/cache
show mv from-restic/app/files/data/uploads data/uploads
[[ ${#owner_of_cache[@]} == 0 ]] || show chown -R "$cache_user:" data/cache
show rekindle --quiet service up db cache
fingerprint shop >after-restic
same_tables before-accident after-restic
note "And the three stores of this one recovery point fit together:"
compare "$told_before" --of-one-point

step "In numbers"
line "lost: rows" "$lost_rows of $orders"
line "lost: keys; files" "the last $lost_keys_seconds s; $lost_files_seconds s"
line "from the disaster until all is well" "$(seconds "$back_ms") s"
line "  restore of db; cache; files" "$(seconds "$db_ms"); $(seconds "$cache_ms"); $(seconds "$files_ms") s"
line "  start of the stores; application" "$(seconds "$stores_ms"); $(seconds "$app_ms") s"
line "back to before the accident, in place" "$(seconds "$in_place_ms") s"
line "first backup" "$(mib "$first_size"), $(seconds "$first_ms") s"
line "second backup" "$(mib "$second_size"), $(seconds "$second_ms") s"
line "stored, encrypted, after the first" "$(mib "$stored_first")"
line "added by the second" "$(mib "$second_added")"
line "stored after both, with WAL" "$(mib "$stored_second")"
line "restore of the database" "$(speed "$restored_bytes" "$db_ms")"
line "stock restic took" "$(seconds "$restic_ms") s"
printf '\nEverything that was backed up came back identical: by Rekindle, from the dump, and by stock restic.\n'
