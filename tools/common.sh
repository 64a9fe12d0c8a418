# What the scripts of this folder share: `. "$(dirname -- "$0")/common.sh"`.

fail() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

say() { printf '%s\n' "$*" >&2; }

# Whether file $1 is there and has the sum $2.
has_sum() { [ -f "$1" ] && [ "$(sha256sum <"$1" | sed 's/ .*//')" = "$2" ]; }

# Ends where one of these commands is missing.
need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "'$tool' is missing" "install it with your system's package manager"
    done
}

# Downloads $1 to file $2, which has to have the sum $3; goes on with a file that is there in part.
fetch() {
    local code status show=--silent
    [ ! -t 2 ] || show=--progress-bar
    for _ in 1 2; do
        ! has_sum "$2" "$3" || return 0
        status=0
        code=$(curl --fail --location --show-error $show --retry 3 --continue-at - --output "$2" --write-out '%{http_code}' \
            -- "$1") || status=$?
        ! has_sum "$2" "$3" || return 0
        case $status:$code in
        # The file is complete and wrong, or cannot be continued: a second time it is fetched from its start.
        0:* | 22:416 | 33:* | 36:*)
            say "  $2 is not what is expected"
            rm -f -- "$2"
            ;;
        22:*) fail "$1 cannot be downloaded: the server answers $code" ;;
        23:*) fail "$2 cannot be written: is the disk full?" "make room and run this again: it goes on from there" ;;
        *) fail "the download of $1 broke off (error $status of curl)" "run this again: it goes on from there" ;;
        esac
    done
    fail "$1 does not have the SHA-256 $3" "does a proxy change what you download?"
}
