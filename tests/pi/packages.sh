#!/bin/sh
# Debian packages that tests/pi uses, installed where one is missing; without root, the tests that lack one say so and skip.
set -eu
packages=$(grep -v '^#' "$(dirname "$0")/packages.txt")
missing=
for package in $packages; do
    dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
if [ -z "$missing" ] || [ "$(id -u)" != 0 ]; then
    exit 0
fi
echo "installing$missing …"
apt-get update -qq
# shellcheck disable=SC2086  # one word a package
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
