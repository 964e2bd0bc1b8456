# Shared by the scripts; sourced, not run.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*"; }

# die MESSAGE WHAT_TO_DO: prints both to stderr and ends the script.
die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    [ -n "${2:-}" ] && printf '  try: %s\n' "$2" >&2
    exit 1
}

# need COMMAND PACKAGE: ends the script unless the command exists.
need() { command -v "$1" > /dev/null || die "$1 is missing" "apt-get install $2"; }

# retry COMMAND...: tries a command up to three times. Used for commands that need the network.
retry() {
    local try
    for try in 1 2 3; do
        "$@" && return 0
        sleep "$try"
    done
    return 1
}

# extract_kernel VMLINUZ VMLINUX: extracts the ELF kernel from a bzImage. Decompressing a bzImage is slow in emulation,
# and QEMU enters an ELF with a PVH note directly. The header gives the position of the payload: payload_offset and
# payload_length of the Linux/x86 boot protocol 2.08. Other kernels are copied unchanged.
extract_kernel() {
    local setup_sectors offset length magic
    number() { od -An -t "u$2" -j "$1" -N "$2" "$3" | tr -d ' '; }
    if [ "$(dd if="$1" bs=1 skip=$((0x202)) count=4 2> /dev/null)" != HdrS ]; then
        cp "$1" "$2"
        return
    fi
    setup_sectors=$(number $((0x1f1)) 1 "$1")
    offset=$(((setup_sectors + 1) * 512 + $(number $((0x248)) 4 "$1")))
    # The last four bytes are the uncompressed size and not part of the stream.
    length=$(($(number $((0x24c)) 4 "$1") - 4))
    magic=$(od -An -t x1 -j "$offset" -N 4 "$1" | tr -d ' ')
    local decompress
    case $magic in
    02214c18) decompress='lz4 -dc' ;;
    28b52ffd) decompress='zstd -dc' ;;
    fd377a58) decompress='xz -dc' ;;
    1f8b*) decompress='gzip -dc' ;;
    *) cp "$1" "$2"; return ;;
    esac
    head -c $((offset + length)) "$1" | tail -c "$length" | $decompress > "$2"
}
