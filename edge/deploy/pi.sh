#!/bin/bash
# edgefer on a Raspberry Pi: pi.sh install|uninstall|bundle [--dry-run]; see docs/pi.md, or pi.sh --help.
set -euo pipefail
umask 022 # the service runs as another user

USAGE="usage: pi.sh install   [--dry-run]             into /opt/edgefer, from this checkout or this unpacked bundle
       pi.sh uninstall [--dry-run] [--purge]   remove it; --purge takes configuration and data too
       pi.sh bundle    [--dry-run] [--machine aarch64|x86_64]
                                               one file to install from without a network, into dist/
--dry-run prints every step and runs none. PREFIX is the folder to install into, PYTHON the system's python3."

HERE=$(cd "$(dirname "$0")" && pwd)
PREFIX=${PREFIX:-/opt/edgefer}
PYTHON=${PYTHON:-/usr/bin/python3}
COMMAND=/usr/local/bin/edgefer
dry_run='' purge='' machine=aarch64

# The wheels and pins of a bundle, or those of a checkout.
if [ -d "$HERE/wheels" ]; then
    WHEELS=$HERE/wheels PINS=("$HERE/pi.txt" "$HERE/outputs.txt") SOURCE=''
else
    SOURCE=$(cd "$HERE/../.." && pwd)
    WHEELS='' PINS=("$SOURCE/requirements/pi.txt" "$SOURCE/requirements/outputs.txt")
fi

fail() {
    echo "edgefer: $*" >&2
    exit 1
}

# Print a step, and run it unless this is a dry run.
step() {
    echo "+ $*"
    [ -n "$dry_run" ] || "$@"
}

# A step that needs root.
root_step() {
    if [ "$(id -u)" = 0 ]; then step "$@"; else step sudo "$@"; fi
}

# The packages of every Pi: the lines of requirements/pi.txt and outputs.txt without a marker.
pins() {
    grep -hxE '[a-z][^ ;]*==[^ ;]+' "${PINS[@]}"
}

# "name==version" of a runtime in requirements/pi.txt. Its marker is ignored: on a 32-bit system with a 64-bit kernel, which Raspberry
# Pi OS often is, it would see "aarch64".
pin() {
    grep -hoE "^$1==[^ ;]+" "${PINS[@]}" || fail "${PINS[0]}: no $1 in it"
}

# ---------------------------------------------------------------- install

# The TFLite runtime for this system: the architecture of dpkg (the system) counts, not that of uname (the kernel).
pick_runtime() {
    local release architecture
    command -v dpkg >/dev/null || fail "no dpkg here: this installs on Raspberry Pi OS and Debian; elsewhere 'pip install edgefer'"
    [ -x "$PYTHON" ] || fail "no $PYTHON; sudo apt install python3"
    release=$("$PYTHON" -c 'import sys; print("%d%02d" % sys.version_info[:2])')
    [ "$release" -ge 311 ] || fail "Python 3.11 or newer is needed, $PYTHON is older; install Raspberry Pi OS Bookworm or Trixie"
    architecture=$(dpkg --print-architecture)
    case $architecture in
    arm64 | amd64) RUNTIME=ai-edge-litert ;;
    armhf)
        [ "$(uname -m)" != armv6l ] || fail "this processor (ARMv6: Pi 1, Zero, Zero W) has no TFLite runtime; a Zero 2 W, 3, 4 or 5 has"
        [ "$release" -lt 312 ] || fail "no TFLite runtime exists for 32-bit systems newer than Bookworm; install the 64-bit Raspberry Pi OS"
        [ -z "$WHEELS" ] || fail "this bundle is for 64-bit systems; on a 32-bit one 'make pi-install' in a checkout, with a network"
        RUNTIME=tflite-runtime
        ;;
    *) fail "no TFLite runtime is known for $architecture; it runs on arm64, armhf (Bookworm) and amd64" ;;
    esac
}

has_package() {
    dpkg-query --show --showformat='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

# The camera library, OpenCV and numpy come from apt: picamera2 is built against the system's numpy and fails with another.
install_packages() {
    local package wanted=(python3-venv python3-numpy python3-opencv python3-picamera2) missing=()
    # Some libraries have no wheel for 32 bits: pip builds them.
    [ "$RUNTIME" != tflite-runtime ] || wanted+=(gcc libc6-dev python3-dev)
    for package in "${wanted[@]}"; do
        has_package "$package" || missing+=("$package")
    done
    if [ ${#missing[@]} -gt 0 ] && [ -z "$WHEELS" ]; then
        root_step apt-get update -q
    fi
    # Not every Debian release has picamera2; USB cameras work without it.
    if [[ " ${missing[*]} " == *" python3-picamera2 "* && -z $dry_run ]] && ! apt-cache show python3-picamera2 >/dev/null 2>&1; then
        echo "no package python3-picamera2 here: USB cameras and streams only"
        missing=("${missing[@]/python3-picamera2/}")
        read -ra missing <<<"${missing[*]}"
    fi
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! root_step apt-get install -q -y --no-install-recommends "${missing[@]}"; then
        if [ -z "$WHEELS" ] || ! has_package python3-venv; then
            fail "apt cannot install ${missing[*]}; the system's python3-venv at least is needed, then run this again"
        fi
        echo "no network and no ${missing[*]}: OpenCV and numpy come from the bundle"
    fi
}

# A virtual environment that sees the system's picamera2; one of another Python, after a system upgrade, is replaced.
make_environment() {
    local version
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ -x "$PREFIX/bin/python" ] && [ -d "$PREFIX/lib/python$version/site-packages" ]; then
        echo "$PREFIX exists"
    else
        [ ! -e "$PREFIX" ] || [ -e "$PREFIX/pyvenv.cfg" ] || fail "$PREFIX exists and is not edgefer's; move it, or choose another folder with PREFIX=…"
        root_step "$PYTHON" -m venv --clear --system-site-packages "$PREFIX"
    fi
}

# numpy stays at the system's version, for this installation and for later ones into it.
hold_numpy() {
    local numpy
    numpy=$("$PYTHON" -c 'import numpy; print(numpy.__version__)' 2>/dev/null || true)
    root_step sh -c "echo '${numpy:+numpy==$numpy}' > '$PREFIX/constraints.txt'"
    root_step sh -c "printf '[install]\nconstraint = $PREFIX/constraints.txt\n' > '$PREFIX/pip.conf'"
}

install() {
    pick_runtime
    install_packages
    make_environment
    hold_numpy
    local pip=("$PREFIX/bin/python" -m pip --quiet --disable-pip-version-check --no-cache-dir) packages from=()
    [ -z "$WHEELS" ] || from=(--no-index --find-links "$WHEELS")
    # shellcheck disable=SC2207  # one word a package
    packages=($(pins) "$(pin "$RUNTIME")")
    "$PYTHON" -c 'import cv2; cv2.CascadeClassifier' 2>/dev/null || [ -z "$WHEELS" ] || packages+=(opencv-python-headless)
    root_step "${pip[@]}" install "${from[@]}" "${packages[@]}"
    # No dependencies: they are the packages above. Force: the same version may have newer code.
    root_step "${pip[@]}" install "${from[@]}" --no-deps --force-reinstall "${SOURCE:-$(echo "$WHEELS"/edgefer-*.whl)}"
    root_step ln -sfn "$PREFIX/bin/edgefer" "$COMMAND"
    local user=${SUDO_USER:-$(id -un)}
    if [ "$user" != root ] && ! id -nG "$user" | grep -qw video; then
        root_step usermod -aG video "$user"
        echo "log out and in again, so that $user may use the camera"
    fi
    step "$COMMAND" doctor || true
    echo "next: sudo edgefer setup, then sudo edgefer service install; or just edgefer run"
}

# ---------------------------------------------------------------- uninstall

uninstall() {
    if [ -e /etc/systemd/system/edgefer.service ]; then
        root_step systemctl disable --now edgefer.service
        root_step rm -f /etc/systemd/system/edgefer.service
        root_step systemctl daemon-reload
    fi
    if [ "$(readlink "$COMMAND")" = "$PREFIX/bin/edgefer" ]; then
        root_step rm -f "$COMMAND"
    fi
    if [ -e "$PREFIX/pyvenv.cfg" ]; then
        root_step rm -rf "$PREFIX"
    else
        echo "nothing of edgefer's in $PREFIX"
    fi
    if [ -n "$purge" ]; then
        root_step rm -rf /etc/edgefer /var/lib/edgefer /var/lib/private/edgefer
    else
        echo "not removed: /etc/edgefer and /var/lib/edgefer (--purge removes them), and the packages from apt"
    fi
}

# ---------------------------------------------------------------- bundle

# Wheels for one Python of the Pi. OpenCV and numpy are for a system without apt's: the last OpenCV that works with the numpy 1.24 of
# Bookworm.
download() {
    local python=$1 numpy=$2 to=$3 platforms=() packages tag
    # shellcheck disable=SC2207  # one word a package
    packages=($(pins))
    for tag in manylinux2014 manylinux_2_17 manylinux_2_24 manylinux_2_26 manylinux_2_27 manylinux_2_28; do
        platforms+=(--platform "${tag}_$machine")
    done
    step "$PYTHON" -m pip download --quiet --disable-pip-version-check --dest "$to" --only-binary=:all: "${platforms[@]}" \
        --implementation cp --python-version "$python" --abi "cp${python/./}" --abi abi3 --abi none \
        "${packages[@]}" "$(pin ai-edge-litert)" "$numpy" opencv-python-headless==4.11.0.86
}

bundle() {
    [ -n "$SOURCE" ] || fail "this is a bundle; make one in a checkout"
    local version work name
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$SOURCE/pyproject.toml")
    name=edgefer-$version-$machine
    work=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder's name as it is now
    trap "rm -rf '$work'" EXIT
    mkdir -p "$work/$name/wheels" "$SOURCE/dist"
    step "$PYTHON" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$work/$name/wheels" "$SOURCE"
    download 3.11 numpy==1.26.4 "$work/$name/wheels"
    download 3.13 numpy==2.2.6 "$work/$name/wheels"
    step cp "$HERE/pi.sh" "${PINS[@]}" "$SOURCE/LICENSE" "$work/$name/"
    step tar --create --gzip --sort=name --owner=0 --group=0 --numeric-owner --directory "$work" --file "$SOURCE/dist/.part-$name.tar.gz" "$name"
    step mv "$SOURCE/dist/.part-$name.tar.gz" "$SOURCE/dist/$name.tar.gz"
    echo "dist/$name.tar.gz: on the Pi 'tar xf $name.tar.gz && $name/pi.sh install'"
}

# ---------------------------------------------------------------- the command line

verb=${1:-}
[ $# = 0 ] || shift
case $verb in
install | uninstall | bundle) ;;
-h | --help) echo "$USAGE" && exit 0 ;;
*) echo "$USAGE" >&2 && exit 2 ;;
esac
while [ $# -gt 0 ]; do
    case $verb$1 in
    *--dry-run) dry_run=yes ;;
    uninstall--purge) purge=yes ;;
    bundle--machine)
        [ $# -gt 1 ] || fail "--machine needs a value: aarch64 or x86_64"
        machine=$2
        shift
        ;;
    *-h | *--help) echo "$USAGE" && exit 0 ;;
    *) echo "edgefer: pi.sh $verb: unknown argument $1" >&2 && echo "$USAGE" >&2 && exit 2 ;;
    esac
    shift
done
case $machine in aarch64 | x86_64) ;; *) fail "--machine '$machine': aarch64 or x86_64" ;; esac
"$verb"
