#!/bin/bash
# Debian roots with a real Home Assistant Core in them, for the tests of this folder: install.sh [VERSION…]; as root, minutes, 1 GB each.
# Without a version: the newest Core, and one about two years old. Each needs a Python that Debian 12 does not have.
set -euo pipefail
kept=${EDGEFER_HA_BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build/homeassistant}
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "making Debian roots takes root on Debian; the tests skip" >&2
    exit 0
fi
missing=
for package in mmdebstrap bubblewrap mosquitto; do
    dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
if [ -n "$missing" ]; then
    apt-get update -qq
    # shellcheck disable=SC2086  # one word a package
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -1)

# What the integrations of the tests need; Home Assistant would install it at run time.
requirements='
import json, pathlib, homeassistant
folder = pathlib.Path(homeassistant.__file__).parent / "components"
seen, todo, found = set(), ["frontend", "mqtt", "recorder", "counter", "backup", "hardware", "network", "person"], {"aiohasupervisor", "numpy"}
while todo:
    name = todo.pop()
    manifest = folder / name / "manifest.json"
    if name not in seen and manifest.exists():
        content = json.loads(manifest.read_text())
        found |= set(content.get("requirements", []))
        todo += content.get("dependencies", [])
    seen.add(name)
print("\n".join(sorted(found)))
'

make_core() { # VERSION RELEASE: 2026.11.0 forky
    root=$kept/core-$1
    [ -x "$root/ha/bin/hass" ] && return
    echo "Home Assistant $1 in Debian $2 (minutes) …"
    part=$kept/.part-$1
    rm -rf "$part"
    mkdir -p "$kept"
    mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,python3-dev,gcc,g++,libc6-dev,ca-certificates \
        --aptopt='Acquire::Check-Valid-Until "false"' "$2" "$part" ${mirror:+"$mirror"}
    cp -L /etc/resolv.conf /etc/hosts "$part/etc/"
    cp -L /etc/ssl/certs/ca-certificates.crt "$part/etc/ssl/certs/"
    inside() { bwrap --die-with-parent --bind "$part" / --proc /proc --dev /dev --tmpfs /tmp --setenv HOME /root "$@"; }
    # The machine's own lists of packages are not in the root.
    unset PIP_CONSTRAINT PIP_FIND_LINKS
    inside python3 -m venv /ha
    inside /ha/bin/pip install --quiet "homeassistant==$1"
    inside /ha/bin/python -c "$requirements" >"$part/requirements.txt"
    limits=$(inside /ha/bin/python -c 'import homeassistant, pathlib; print(pathlib.Path(homeassistant.__file__).parent / "package_constraints.txt")')
    inside /ha/bin/pip install --quiet -c "$limits" -r /requirements.txt
    mv "$part" "$root"
}

[ $# -gt 0 ] || set -- 2026.11.0 2025.4.4
for version in "$@"; do
    case $version in
        2025.*) make_core "$version" trixie ;; # Python 3.13
        *) make_core "$version" forky ;; # Python 3.14
    esac
done
