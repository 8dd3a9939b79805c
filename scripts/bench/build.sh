# shellcheck shell=bash

# build_rekindle REPOSITORY: builds the program, unless $REKINDLE names one, and prints its path.
build_rekindle() {
    if [[ -n ${REKINDLE-} ]]; then
        realpath -e -- "$REKINDLE"
        return
    fi
    printf 'building rekindle (release)\n' >&2
    (
        cd "$1"
        cargo build --release --locked --quiet --package rekindle
        cargo metadata --no-deps --format-version 1 |
            python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"] + "/release/rekindle")'
    )
}

# build_engine REPOSITORY: builds the engine alone, and prints its path.
build_engine() {
    (
        cd "$1"
        cargo build --release --locked --quiet --package rekindle-vault --example engine
        cargo metadata --no-deps --format-version 1 |
            python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"] + "/release/examples/engine")'
    )
}
