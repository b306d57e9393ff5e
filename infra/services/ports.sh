# Ports of this machine's loopback: who listens, and what he answers.

listens() { (exec 9<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; } # port

holder() { # port: the command and pid that listen on it
    local inode pid
    inode=$(awk -v port=":$(printf %04X "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port {
        print $10; exit }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    pid=$(find /proc/[0-9]*/fd -lname "socket:\[${inode:-none}\]" 2>/dev/null | head -1 | cut -d/ -f3)
    if [ -n "$pid" ]; then
        echo "'$(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c1-120 | sed 's/ *$//')' (pid $pid)"
    else
        echo "a process of another user"
    fi
}

answer() { # port path [user:password]: the answer to a GET with its headers, '' if there is none
    local credentials=
    [ -z "${3:-}" ] || credentials="Authorization: Basic $(printf %s "$3" | base64 | tr -d '\n')"$'\r\n'
    {
        exec 9<>"/dev/tcp/127.0.0.1/$1" || return 1
        printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1:%s\r\n%s\r\n' "$2" "$1" "$credentials" >&9
        timeout 10 cat <&9
        exec 9>&-
    } 2>/dev/null
}

answers() { # port path status
    local got
    got=$(answer "$1" "$2" | head -1) || true
    [[ $got == HTTP/1.?" $3"* ]]
}
