#!/bin/sh
# Installs the appliance from the source tree that contains this file, on Debian 12, Ubuntu 24.04 or newer.
#
# Every step acts only where something is missing or differs, so the script may be run again at any time: to upgrade, to
# repair, or to complete a run that was interrupted. This is safe because
# - a release is a virtual environment in a directory of its own; its name is the digest of its sources; it is valid only
#   with its stamp, which is written last; and one rename switches `current` to it;
# - a file is written under another name and then renamed, so that it is never incomplete.
set -eu
umask 022  # a stricter one would leave the service user unable to read the release
unset PYTHONPATH PYTHONHOME

SERVICE=appliance
DATAPLANE=appliance-dataplane
SERVICE_USER=appliance
PACKAGES="python3 python3-venv python3-dev gcc libc6-dev libnetfilter-queue-dev nftables iptables iproute2"
LANE_PACKAGES="libbpf1"
# For compiling the lane's program: installed only when a release is built. They may be removed afterwards.
LANE_BUILD_PACKAGES="clang llvm libbpf-dev"
PYTHON=${PYTHON:-/usr/bin/python3}
SOURCE=$(dirname "$(dirname "$(readlink -f "$0")")")

# The sources of a release: the digest is made of these, and the build gets only these.
RELEASE_SOURCES="appliance pyproject.toml requirements.lock requirements-build.lock README.md LICENSE"
TOP_SOURCES="requirements-top.lock"
LANE_SOURCES="bpf tools/__init__.py tools/build_lane.sh tools/lane_header.py"

action=install
root=
with_packages=no
with_lane=yes
with_top=no
keep_config=no
scratch_dir=

usage() {
    cat <<'USAGE'
usage: install.sh [--without-lane] [--with-top] [--root DIR] [--with-packages]
       install.sh --uninstall [--keep-config] [--root DIR]

  --without-lane   build no program for the kernel, and so need no clang: every packet goes through Python
  --with-top       install what `appliance top` needs too, the Python package textual
  --root DIR       put every file below DIR (no user, no systemctl, no packages)
  --with-packages  with --root: install the missing apt packages too
  --uninstall      stop the service and remove all that was installed, also the configuration
  --keep-config    with --uninstall: keep /etc/appliance and the unit's drop-ins
  --help           print this help

Environment: PYTHON, the interpreter to build with (default /usr/bin/python3; 3.11 or newer).
USAGE
}

say() { printf '%s\n' "==> $*"; }
die() {
    printf '%s\n' "install.sh: $*" >&2
    exit 1
}
wrong_usage() {
    printf '%s\n' "install.sh: $* (see --help); nothing was changed" >&2
    exit 2
}

parse_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --root)
                [ -n "${2:-}" ] || wrong_usage "--root needs a directory"
                root=$(readlink -m "$2")
                [ "$root" != / ] || wrong_usage "--root / is this machine: leave --root out"
                shift
                ;;
            --with-packages) with_packages=yes ;;
            --without-lane) with_lane=no ;;
            --with-top) with_top=yes ;;
            --uninstall) action=uninstall ;;
            --keep-config) keep_config=yes ;;
            --help | -h)
                usage
                exit 0
                ;;
            *) wrong_usage "unknown option '$1'" ;;
        esac
        shift
    done
    [ "$keep_config" = no ] || [ "$action" = uninstall ] || wrong_usage "--keep-config needs --uninstall"
    [ "$with_packages" = no ] || [ "$action" = install ] || wrong_usage "--with-packages does not go with --uninstall"
    [ "$with_lane" = yes ] || [ "$action" = install ] || wrong_usage "--without-lane does not go with --uninstall"
    [ "$with_top" = no ] || [ "$action" = install ] || wrong_usage "--with-top does not go with --uninstall"
}

# All checks that can refuse a run are here, before the first change.
check_preconditions() {
    if on_this_machine && [ "$(id -u)" -ne 0 ]; then
        die "must run as root, or with --root DIR and a directory of your own; nothing was changed"
    fi
    [ "$action" = install ] || return 0
    for needed in $(sources) etc/lvs.toml "deploy/$SERVICE.service" "deploy/$DATAPLANE.service" "deploy/90-$SERVICE.conf"; do
        [ -e "$SOURCE/$needed" ] || die "the source tree $SOURCE lacks $needed; nothing was changed"
    done
    if [ -e "$command_link" ] && [ ! -L "$command_link" ]; then
        die "$command_link exists and is not this script's symlink; nothing was changed"
    fi
    if on_this_machine && getent passwd "$SERVICE_USER" >/dev/null && ! has_service_user; then
        die "a user '$SERVICE_USER' exists and was not made by this script; nothing was changed"
    fi
    if wants_packages; then
        command -v apt-get >/dev/null || die "apt-get is needed (Debian or Ubuntu); nothing was changed"
    fi
}

on_this_machine() { [ -z "$root" ]; }
sources() {
    printf '%s ' "$RELEASE_SOURCES"
    [ "$with_lane" = no ] || printf '%s ' "$LANE_SOURCES"
    [ "$with_top" = no ] || printf '%s' "$TOP_SOURCES"
}
# The programs of the pages /docs and /ui/, when `make swagger-ui` and `make ui` have fetched them.
pages() { for page in swagger-ui uplot; do [ ! -d "$SOURCE/build/$page" ] || printf '%s ' "build/$page"; done; }
wants_packages() { on_this_machine || [ "$with_packages" = yes ]; }
# The documented test of sd_booted(3); false in most containers.
systemd_runs() { on_this_machine && [ -d /run/systemd/system ]; }
service_runs() { systemd_runs && systemctl is-active --quiet "$SERVICE"; }

name_the_places() {
    prefix=$root/opt/appliance
    current=$prefix/current
    config_dir=$root/etc/appliance
    config=$config_dir/lvs.toml
    unit=$root/etc/systemd/system/$SERVICE.service
    dataplane_unit=$root/etc/systemd/system/$DATAPLANE.service
    sysctl_file=$root/etc/sysctl.d/90-$SERVICE.conf
    command_link=$root/usr/local/bin/appliance
    bash_completion=$root/usr/local/share/bash-completion/completions/appliance
    zsh_completion=$root/usr/local/share/zsh/site-functions/_appliance
}

# place SOURCE DESTINATION MODE: copies a file, with a rename, and only when the content differs.
place() {
    if cmp -s "$1" "$2"; then
        chmod "$3" "$2"
        return
    fi
    mkdir -p "$(dirname "$2")"
    install -m "$3" "$1" "$2.new"
    mv -f "$2.new" "$2"
}

# point LINK TARGET: makes a link with a rename, because `ln -f` removes the old link before it makes the new one.
point() {
    [ "$(readlink "$1" || true)" != "$2" ] || return 0
    mkdir -p "$(dirname "$1")"
    ln -sfn "$2" "$1.new"
    mv -fT "$1.new" "$1"
}

# run_quietly COMMAND...: runs a command, and shows its output only when it fails.
run_quietly() {
    "$@" >"$scratch_dir/output" 2>&1 && return
    tail -n 40 "$scratch_dir/output" >&2
    return 1
}

missing_packages() {
    for package; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || printf '%s ' "$package"
    done
}

apt() {
    # needrestart (Ubuntu) would ask which services to restart. Another package manager may hold the lock for a while.
    env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -qq -o DPkg::Lock::Timeout=300 "$@"
}

# install_packages PACKAGE...: installs those that are missing.
install_packages() {
    if ! wants_packages; then
        say "packages: not touched with --root"
        return
    fi
    missing=$(missing_packages "$@")
    if [ -z "$missing" ]; then
        say "packages: all present"
        return
    fi
    say "packages: installing $missing"
    # Package lists may be missing or old; they are fetched only when the installation fails.
    # shellcheck disable=SC2086 # $missing is a list
    if ! apt install -y --no-install-recommends $missing >/dev/null 2>&1; then
        run_quietly apt update || die "apt-get update failed"
        # shellcheck disable=SC2086
        run_quietly apt install -y --no-install-recommends $missing || die "apt-get install failed"
    fi
}

check_python() {
    [ -x "$PYTHON" ] || die "$PYTHON is missing; name another interpreter with PYTHON=..."
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$PYTHON is older than 3.11; Debian 12 and Ubuntu 24.04 have a newer one, or set PYTHON=..."
    on_this_machine || return 0
    case $(readlink -f "$PYTHON") in
        /root/* | /home/*) die "$PYTHON lies in a home directory, which the service cannot read" ;;
    esac
}

release_digest() {
    {
        readlink -f "$PYTHON" && "$PYTHON" -V
        # shellcheck disable=SC2046 # a list of names
        (cd "$SOURCE" && find $(sources) $(pages) -name __pycache__ -prune -o -type f -print0 |
            LC_ALL=C sort -z | xargs -0 sha256sum)
    } | sha256sum | cut -c 1-16
}

# The build uses a copy, because setuptools leaves build/ and *.egg-info behind and would pack modules from an old build/.
build_release() {
    rm -rf "$1"
    mkdir -p "$1" "$scratch_dir/source"
    # shellcheck disable=SC2046 # a list of names
    (cd "$SOURCE" && tar -cf - --exclude=__pycache__ $(sources)) | tar -xf - -C "$scratch_dir/source"
    for page in $(pages); do cp -R "$SOURCE/$page" "$scratch_dir/source/appliance/"; done
    run_quietly "$PYTHON" -m venv "$1" || die "cannot make a virtual environment in $1"
    # Without build isolation, pip builds with what is installed here. With it, pip would fetch the newest setuptools, unchecked.
    say "release: installing the locked build tools"
    run_quietly pip_install "$1" --require-hashes --only-binary :all: --requirement "$scratch_dir/source/requirements-build.lock" ||
        die "cannot install the build tools"
    say "release: installing the locked dependencies"
    run_quietly pip_install "$1" --require-hashes --no-build-isolation --requirement "$scratch_dir/source/requirements.lock" ||
        die "cannot install the dependencies"
    [ "$with_top" = no ] || install_top "$1"
    [ "$with_lane" = no ] || build_lane "$1"
    say "release: installing the appliance"
    run_quietly pip_install "$1" --no-deps --no-build-isolation "$scratch_dir/source" || die "cannot install the appliance"
    for shell in bash zsh; do
        "$1/bin/python" -I -m appliance completion "$shell" >"$1/completion.$shell" || die "cannot write the completion for $shell"
    done
    touch "$1/.complete"
}

install_top() {
    say "release: installing what appliance top needs"
    run_quietly pip_install "$1" --require-hashes --only-binary :all: --requirement "$scratch_dir/source/requirements-top.lock" ||
        die "cannot install textual; without --with-top the appliance is installed without appliance top"
}

# Its header is written by the appliance's own code, which the interpreter of the release can run now. Beside the modules, it is
# installed with them.
build_lane() {
    # shellcheck disable=SC2086 # a list of packages
    install_packages $LANE_BUILD_PACKAGES
    say "release: compiling the lane's program"
    run_quietly env PYTHON="$1/bin/python" "$scratch_dir/source/tools/build_lane.sh" appliance/lane.bpf.o ||
        die "cannot compile the lane's program; without clang, --without-lane installs the appliance without it"
}

# The cache is below the prefix and not in a home directory, so that --uninstall removes it too.
pip_install() {
    release_python=$1/bin/python
    shift
    "$release_python" -m pip --disable-pip-version-check --cache-dir "$prefix/cache" install --no-input "$@"
}

install_release() {
    check_python
    digest=$(release_digest)
    release=$prefix/releases/$digest
    if [ -e "$release/.complete" ]; then
        say "release: $digest is already built"
    else
        say "release: building $digest in $release"
        build_release "$release"
    fi
    point "$current" "releases/$digest"
    point "$command_link" ../../../opt/appliance/current/bin/appliance
    say "completion: $bash_completion, $zsh_completion"
    place "$release/completion.bash" "$bash_completion" 0644
    place "$release/completion.zsh" "$zsh_completion" 0644
    prune_releases
}

# A running director starts its workers from its own release, so that release must stay.
prune_releases() {
    in_use=
    if service_runs; then
        in_use=$(running_digest)
        [ -n "$in_use" ] || return 0
    fi
    for old in "$prefix"/releases/*; do
        case ${old##*/} in
            "$digest" | "$in_use") ;;
            *) rm -rf "$old" ;;
        esac
    done
}

# The release of the running director, from the path of its interpreter. Empty when it is not known.
running_digest() {
    pid=$(systemctl show --property MainPID --value "$SERVICE")
    tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | sed -n "1s,^$prefix/releases/\([^/]*\)/.*,\1,p"
}

# The home directory identifies our account: an account that was made for another purpose is neither used nor removed.
has_service_user() { [ "$(getent passwd "$SERVICE_USER" | cut -d : -f 6)" = /nonexistent ]; }

install_user() {
    on_this_machine || return 0
    if ! has_service_user; then
        say "user: creating the system user $SERVICE_USER"
        useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$SERVICE_USER"
    fi
}

# Root owns it and the service can read it, so that an attacker inside the gateway cannot change its configuration.
install_config() {
    if [ -e "$config" ]; then
        say "configuration: $config is kept"
    else
        say "configuration: $config, as shipped"
        place "$SOURCE/etc/lvs.toml" "$config" 0640
    fi
    if on_this_machine; then
        chown "root:$SERVICE_USER" "$config"
        chmod 0640 "$config"
    fi
}

install_system_files() {
    say "system: $unit, $dataplane_unit, $sysctl_file"
    place "$SOURCE/deploy/$SERVICE.service" "$unit" 0644
    place "$SOURCE/deploy/$DATAPLANE.service" "$dataplane_unit" 0644
    place "$SOURCE/deploy/90-$SERVICE.conf" "$sysctl_file" 0644
    if systemd_runs; then
        systemctl daemon-reload
    else
        say "system: systemd does not run here; the unit is only copied"
    fi
}

print_next_steps() {
    cat <<NEXT
Installed. The service is not started: the addresses in the shipped configuration are documentation addresses.
  1. edit and check       \$EDITOR $config && ${command_link} check $config
  2. start, now and at boot   systemctl enable --now $SERVICE
  3. look                 systemctl status $SERVICE; journalctl -u $SERVICE
NEXT
    if service_runs && [ "$(running_digest)" != "$digest" ]; then
        say "the service still runs the release it was started from; to change over: systemctl restart $SERVICE (sessions of the lane go on)"
    fi
}

uninstall_service() {
    if systemd_runs && [ -e "$unit" ]; then
        say "service: stopping and disabling $SERVICE"
        systemctl --quiet disable --now "$SERVICE"
        stop_dataplane
    fi
    say "files: removing $unit, $dataplane_unit, $sysctl_file, $command_link, $bash_completion, $zsh_completion, $prefix"
    rm -f "$unit" "$unit.new" "$dataplane_unit" "$dataplane_unit.new" "$sysctl_file" "$sysctl_file.new" "$command_link.new"
    [ ! -L "$command_link" ] || rm -f "$command_link"
    remove_completion "$bash_completion"
    remove_completion "$zsh_completion"
    rm -rf "$prefix"
}

# remove_completion FILE: removes it, and the two directories around it, which few machines have, when nothing else is in them.
remove_completion() {
    rm -f "$1" "$1.new"
    [ ! -d "${1%/*}" ] || rmdir --ignore-fail-on-non-empty "${1%/*}"
    [ ! -d "${1%/*/*}" ] || rmdir --ignore-fail-on-non-empty "${1%/*/*}"
}

# It ends by itself after the service, but the release must not be removed before that.
stop_dataplane() {
    [ ! -e "$dataplane_unit" ] || systemctl --quiet stop "$DATAPLANE"
    if systemctl --quiet is-failed "$DATAPLANE"; then
        say "service: something was left on this host (journalctl -u $DATAPLANE says what)"
    fi
    rm -rf /run/appliance  # as the service leaves it when it was installed and not restarted since
}

uninstall_config() {
    if [ "$keep_config" = yes ]; then
        say "configuration: $config_dir is kept"
        # The group of the file is removed with the service user, and a later group could get the same number.
        if on_this_machine && [ -e "$config" ]; then chgrp root "$config"; fi
        return
    fi
    say "configuration: removing $config_dir (--keep-config would have kept it)"
    rm -rf "$config_dir" "$unit.d" "$dataplane_unit.d"
}

uninstall_user() {
    if on_this_machine && has_service_user; then
        say "user: removing the system user $SERVICE_USER"
        userdel "$SERVICE_USER"
    fi
}

# Below --root DIR this script made the parent directories; on a machine they belong to the distribution.
remove_empty_parents() {
    ! on_this_machine || return 0
    for parent in opt etc/sysctl.d etc/systemd/system usr/local/bin usr/local/share; do
        [ ! -d "$root/$parent" ] || (cd "$root" && rmdir -p --ignore-fail-on-non-empty "$parent")
    done
}

install_all() {
    scratch_dir=$(mktemp -d)
    # shellcheck disable=SC2046,SC2086 # lists of packages
    install_packages $PACKAGES $([ "$with_lane" = no ] || echo $LANE_PACKAGES)
    install_release
    install_user
    install_config
    install_system_files
    print_next_steps
}

uninstall_all() {
    uninstall_service
    uninstall_config
    uninstall_user
    if systemd_runs; then
        systemctl daemon-reload
        systemctl reset-failed "$SERVICE" "$DATAPLANE" 2>/dev/null || true
    fi
    remove_empty_parents
    say "uninstalled; the apt packages stay, because other programs may use them"
}

clean_up() {
    status=$?
    [ -z "$scratch_dir" ] || rm -rf "$scratch_dir"
    [ "$status" -eq 0 ] || [ -z "$scratch_dir" ] || printf '%s\n' "install.sh: not finished; run it again" >&2
}

parse_arguments "$@"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
name_the_places
check_preconditions
"${action}_all"
