#!/bin/sh
# Owns one private Docker engine: starts it when told to, and removes every trace of it when its standard
# input ends, which it does even if the process that holds the other end is killed.
#   warden.sh DIRECTORY SLOTS
# Says on standard output: "slot N" once it has a range of addresses of its own. How the engine ended that was
# started as the Nth is written into the file ended.N.
set -u
dir=$1 slots=$2

# A slot is a number with a range of addresses, bridge networks and a control group of its own, so that
# engines beside each other never meet. The lock goes when this process goes.
mkdir -p "$slots"
slot=
n=0
while [ "$n" -lt 256 ]; do
    exec 9>"$slots/$n"
    if flock -n 9; then slot=$n; break; fi
    n=$((n + 1))
done
[ -n "$slot" ] || { echo "no free slot"; exit 1; }

# What an engine that nobody could clean up after (a machine without power has no cleaner) left in this slot.
remove_bridges() {
    ip -o -4 addr show 2>/dev/null | while read -r _ name _ address _; do
        case $address in 10.213."$slot".*) ip link delete "$name" 2>/dev/null ;; esac
    done
}
remove_groups() {
    find /sys/fs/cgroup -depth -type d -path "*/rekindle-test-$slot*" -exec rmdir {} + 2>/dev/null
}
remove_bridges
remove_groups
echo "slot $slot"

# Addresses only, no packet filter and no forwarding: what the machine has of these stays as it is. Published
# ports are carried by the engine's own proxy.
run_engine() {
    # shellcheck disable=SC2086
    setsid "${REKINDLE_TEST_DOCKERD:-dockerd}" --host "unix://$dir/docker.sock" ${extra:-} \
        --data-root "$dir/data" --exec-root "$dir/run" --pidfile "$dir/pid" \
        --bridge=none --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false \
        --default-address-pool "base=10.213.$slot.0/24,size=28" \
        --cgroup-parent "/rekindle-test-$slot" --shutdown-timeout 1 --log-level warn
}

# Only who started a process learns how it ended; that is told in a file of each start.
starts=0
start() {
    starts=$((starts + 1))
    : >"$dir/log"
    (
        run_engine
        echo $? >"$dir/ended.$starts"
    ) >>"$dir/log" 2>&1 9>&- </dev/null &
}

is_running() { [ -e "/proc/$1" ] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; }

# end PID: asks, waits, and insists. A stopped process hears nothing until it is continued.
end() {
    kill -TERM "$1" 2>/dev/null
    kill -CONT "$1" 2>/dev/null
    waited=0
    while is_running "$1" && [ "$waited" -lt 100 ]; do sleep 0.1; waited=$((waited + 1)); done
    kill -KILL "$1" 2>/dev/null
}

# Containers first, by the ids of their first processes, so that the engine has nothing to wait for.
end_containers() {
    for file in "$dir"/run/containerd/daemon/io.containerd.runtime.v2.task/*/*/init.pid \
                "$dir"/run/containerd/io.containerd.runtime.v2.task/*/*/init.pid; do
        [ -s "$file" ] && kill -KILL "$(cat "$file")" 2>/dev/null
    done
}

# Shims and containerd outlive an engine that was killed; all of them name our directory.
end_left_over() {
    for process in /proc/[0-9]*; do
        [ "$process" = "/proc/$$" ] && continue
        case $(readlink "$process/exe" 2>/dev/null) in
            *containerd* | *dockerd* | *docker-proxy* | *runc*)
                if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -qF "$dir/"; then
                    kill -KILL "${process#/proc/}" 2>/dev/null
                fi ;;
        esac
    done
}

# Deepest first.
unmount() {
    cut -d ' ' -f 2 /proc/mounts | grep -F "$dir/" | sort -r | while read -r place; do
        umount -l "$place" 2>/dev/null
    done
}

while read -r word extra; do
    case $word in
        start) start ;;
    esac
done

end_containers
[ -s "$dir/pid" ] && end "$(cat "$dir/pid")"
end_containers
end_left_over
wait
unmount
remove_bridges
remove_groups
rm -rf "$dir"
