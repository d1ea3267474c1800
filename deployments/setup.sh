#!/usr/bin/env bash
# Makes .venv from the lock files; `make` calls it, and it may be run by hand.
#
#   deployments/setup.sh runtime   what `manus` needs
#   deployments/setup.sh dev       also what the tests and checks need
#
# As root, or with sudo that asks no password, it installs missing Debian packages; otherwise it
# prints the one line that does. Ends with 3 where it cannot go on. Safe to interrupt and repeat:
# the stamp file is written last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly flavour=${1:-runtime}
readonly packages=(core providers tools agents analytics tasks flows gateway)
readonly venv=.venv

# Each of these would change what is installed, or where; the first doubles import times for ever.
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV

say() { printf 'setup: %s\n' "$*" >&2; }
stop() { say "$@"; exit 3; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

install_line() {
    if ! command -v apt-get >/dev/null; then
        echo "install $* with this system's package manager"
    elif [ "$(id -u)" -eq 0 ]; then
        echo "apt-get update && apt-get install -y $*"
    else
        echo "sudo apt-get update && sudo apt-get install -y $*"
    fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o DPkg::Lock::Timeout=120 "$@" >/dev/null
}

# One by one: a package that this release does not have must not keep the others away.
apt_install() {
    local package updated=
    for package in "$@"; do
        say "installing the Debian package $package"
        apt_get install --no-install-recommends "$package" 2>/dev/null && continue
        [ -n "$updated" ] || apt_get update || true
        updated=yes
        apt_get install --no-install-recommends "$package" || say "could not install $package"
    done
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    stop "Python 3.11 or later is needed, and none was found (PYTHON=/path/to/python3 names one)"
}

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
has_chromium() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; }

# What is missing on this machine; venv support alone is indispensable.
missing_packages() {
    local python=$1
    has_venv "$python" || echo "$(basename "$python")-venv"
    [ "$(uname)" = Linux ] || return 0
    command -v bwrap >/dev/null || echo bubblewrap
    has_chromium || echo chromium
    [ "$flavour" = dev ] || return 0
    command -v redis-server >/dev/null || echo redis-server
}

install_system_packages() {
    local python=$1 missing
    mapfile -t missing < <(missing_packages "$python")
    [ ${#missing[@]} -gt 0 ] || return 0
    if can_install; then
        apt_install "${missing[@]}"
        mapfile -t missing < <(missing_packages "$python")
        [ ${#missing[@]} -gt 0 ] || return 0
    fi
    has_venv "$python" || stop "cannot go on without ${missing[0]}; run: $(install_line "${missing[@]}")"
    tell_what_is_disabled "${missing[@]}"
}

tell_what_is_disabled() {
    case " $* " in *" bubblewrap "*)
        say "no bubblewrap: tools run under sandlock where the kernel can, and are refused elsewhere" ;;
    esac
    case " $* " in *" chromium "*) say "no chromium: browser_use does not work, and its tests are skipped" ;; esac
    case " $* " in *" redis-server "*) say "no redis-server: tests that need one are skipped" ;; esac
    say "to change that: $(install_line "$@")"
}

make_venv() {
    if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then return; fi
    say "creating $venv with $("$1" --version)"
    "$1" -m venv --clear "$venv"
}

install_pinned() {
    local lock=requirements.lock
    [ "$flavour" != dev ] || lock=requirements-dev.lock
    say "installing $(grep -c '==' "$lock") pinned packages from $lock (a minute or two the first time)"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-input \
        --no-deps --require-hashes -r "$lock"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-input \
        --no-deps --no-build-isolation -e .
    "$venv/bin/python" -m compileall -q "${packages[@]}"
}

main() {
    local python
    case $flavour in runtime | dev) ;; *) stop "unknown flavour '$flavour': runtime or dev" ;; esac
    python=$(find_python)
    install_system_packages "$python"
    make_venv "$python"
    rm -f "$venv/.ok-$flavour"
    install_pinned
    touch "$venv/.ok-$flavour"
    [ "$flavour" != dev ] || touch "$venv/.ok-runtime"
    say "ready"
}

main
