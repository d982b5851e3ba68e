# Functions for scripts that make a Debian root and run commands in it; to be sourced, with `root` set to the folder.

mirror() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian|Debian|//p' | sort -u | head -n 1
}

install_here() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2 || {
        apt-get update >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2
    }
}

# Makes the root of the suite that is named, once: debootstrap leaves the file .bootstrapped only when it got to its end.
bootstrap() {
    [ -e "$root/.bootstrapped" ] && return
    url=$(mirror)
    [ -n "$url" ] || { echo "no Debian mirror among apt's sources" >&2; exit 1; }
    PATH=$PATH:/usr/sbin
    command -v debootstrap >/dev/null 2>&1 || install_here debootstrap
    rm -rf "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase --include=ca-certificates "$1" "$root" "$url"
    # apt inside the root goes the same way out as apt outside of it.
    apt-config dump | grep -i '^Acquire::.*proxy' >"$root/etc/apt/apt.conf.d/90proxy" || true
    # A mirror may be a snapshot, older than what a Release file of sid calls valid.
    printf 'APT::Install-Recommends "false";\nAcquire::Check-Valid-Until "false";\n' >"$root/etc/apt/apt.conf.d/91lean"
    touch "$root/.bootstrapped"
}

# Names and certificates as on the host.
copy_network() {
    cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
    cp -L /etc/hosts "$root/etc/hosts" 2>/dev/null || true
    for file in "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" "${CARGO_HTTP_CAINFO:-}" "${REQUESTS_CA_BUNDLE:-}"; do
        [ -n "$file" ] && [ -f "$file" ] || continue
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done
}
