#!/bin/sh
# Owns one private Podman: starts its service when told to, and removes every trace of it when its standard input
# ends, which it does even if the process that holds the other end is killed.
#   unshare --mount --net podman.sh DIRECTORY
# It runs in namespaces of its own for mounts and networks, and Podman and all that it starts with it. Packet
# filters, bridges and addresses are the machine's none, and processes can be told by where they are.
# Says on standard output: "ready" once the namespaces are as they should be. How the service ended that was started
# as the Nth is written into the file ended.N.
set -u
dir=$1

# What all engines of a machine would share, whatever directories they are told: runc's states, names of networks.
mount -t tmpfs tmpfs /run && ip link set lo up || exit 1

# The limits of this process, because those that Podman would set are more than some machines allow.
cat >"$dir/containers.conf" <<END
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
[network]
network_backend = "netavark"
network_config_dir = "$dir/networks"
END
cat >"$dir/storage.conf" <<END
[storage]
driver = "vfs"
graphroot = "$dir/data"
runroot = "$dir/run"
END
export CONTAINERS_CONF="$dir/containers.conf" CONTAINERS_STORAGE_CONF="$dir/storage.conf"
# Health checks are run by timers of systemd, which does not run here; the fixture runs them in their stead.
export DISABLE_HC_SYSTEMD=true
echo ready

starts=0
start() {
    starts=$((starts + 1))
    : >"$dir/log"
    rm -f "$dir/podman.sock"
    (
        podman --tmpdir "$dir/tmp" --log-level warn system service --time=0 "unix://$dir/podman.sock" &
        echo $! >"$dir/pid"
        wait $!
        echo $? >"$dir/ended.$starts"
    ) >>"$dir/log" 2>&1 </dev/null &
}

# The service, those who watch over containers, the name server: all that live where we do.
end_service() {
    ours=$(readlink "/proc/$$/ns/mnt")
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [ "$pid" != $$ ] && [ "$(readlink "$process/ns/mnt" 2>/dev/null)" = "$ours" ] &&
            kill -KILL "$pid" 2>/dev/null
    done
}

# By their first processes, as Podman noted them. An id may have been used again; the control group tells.
end_containers() {
    for file in "$dir"/run/vfs-containers/*/userdata/pidfile; do
        [ -s "$file" ] || continue
        pid=$(cat "$file") id=$(basename "$(dirname "$(dirname "$file")")")
        grep -qF "libpod-$id" "/proc/$pid/cgroup" 2>/dev/null && kill -KILL "$pid" 2>/dev/null
    done
}

# Those of its containers; the ones above them are shared by every Podman of the machine.
remove_groups() {
    for place in "$dir"/data/vfs-containers/*/; do
        id=$(basename "$place")
        find /sys/fs/cgroup -depth -type d -path "*/libpod-$id*" -exec rmdir {} + 2>/dev/null
    done
}

# Deepest first.
unmount() {
    cut -d ' ' -f 2 /proc/mounts | grep -F "$dir/" | sort -r | while read -r place; do
        umount -l "$place" 2>/dev/null
    done
}

while read -r word _; do
    case $word in
        start) start ;;
    esac
done

end_service
end_containers
wait
unmount
remove_groups
rm -rf "$dir"
