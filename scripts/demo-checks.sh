# shellcheck shell=bash
# What DEMO_ONCE=1 requests. Sourced by demo.sh, which has started everything.

: "${url:?}" "${dir:?}"
passed=0
failed=0

run_checks() {
    check 200 GET / "<th>PATH_INFO"
    check 404 GET /no-such-page "no such page"

    check 200 GET /flask/ 'href="/flask/stream"'
    check 308 GET /flask /flask/
    check 200 POST /flask/form "Good day, Ada &amp; Charles." --data-urlencode "name=Ada & Charles"
    check 200 GET "/flask/json?a=1" '"SCRIPT_NAME":"/flask"'
    check 404 GET /flask/no-such-page "Not Found"
    check 200 GET /flask/stream "line 5 of 5"
    arrives_bit_by_bit /flask/stream
    check_uploads

    check 200 GET /django/ 'action="/django/"'
    check 302 GET /django/admin/ /django/admin/login/
    check 403 POST /django/ "CSRF" -d name=Eve
    check_guestbook
    check_admin
    check 200 GET /django/static/admin/css/base.css "--primary"
    answered_by_nginx_alone /django/static/admin/css/base.css

    check 200 GET /rust/ "SCRIPT_NAME"
    check 200 GET "/rust/vars?a=1" '"QUERY_STRING":"a=1"'
    check 200 GET /rust/time "GMT"
    arrives_bit_by_bit /rust/time
    check 404 GET /rust/no-such-page ""
    check_echo
    check 200 POST /rust/count "2000000 bytes" -T "$dir/upload.bin"

    printf '%d passed, %d failed\n' "$passed" "$failed"
    if ((failed > 0)); then
        show_logs
        return 1
    fi
}

# check STATUS METHOD PATH NEEDLE [curl options]: one request; the needle is in the answer's head or body.
# Leaves the body in $dir/body.
check() {
    local want=$1 method=$2 path=$3 needle=$4 status
    shift 4
    : >"$dir/body"
    status=$(curl -sS --max-time 30 -X "$method" -D "$dir/head" -o "$dir/body" -w '%{http_code}' "$@" \
        "$url$path" 2>"$dir/curl.log") || status=$(<"$dir/curl.log")
    if [[ $status != "$want" ]]; then
        result FAIL "$method $path: $status, not $want"
    elif ! grep -qF -e "$needle" "$dir/head" "$dir/body"; then
        result FAIL "$status $method $path: \"$needle\" is not in the answer"
    else
        result ok "$status $method $path  ${needle:-}"
    fi
}

# expect DESCRIPTION COMMAND...
expect() {
    local description=$1
    shift
    if "$@"; then
        result ok "    $description"
    else
        result FAIL "    $description"
    fi
}

result() {
    printf '%-4s %s\n' "$1" "$2"
    if [[ $1 == ok ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
}

# The first line comes well before the last: nothing on the way held the page back until it was whole.
arrives_bit_by_bit() {
    local first="" last=0
    while read -r _; do
        last=${EPOCHREALTIME//[!0-9]/} # microseconds
        first=${first:-$last}
    done < <(curl -sN --max-time 30 "$url$1")
    expect "$(((last - ${first:-0}) / 1000)) ms between the first line of $1 and the last" \
        test "$((last - ${first:-0}))" -gt 500000
}

# Large enough that nginx keeps the body in a file.
check_uploads() {
    local sum
    head -c 2000000 /dev/urandom >"$dir/upload.bin"
    sum=$(sha256sum <"$dir/upload.bin")
    check 200 POST /flask/upload "${sum%% *}" -F answer=facts -F "file=@$dir/upload.bin"
    check 200 POST /flask/upload "application/x-demo" -F answer=file -F "file=@$dir/upload.bin;type=application/x-demo"
    expect "the upload came back as it was" cmp -s "$dir/upload.bin" "$dir/body"
}

check_echo() {
    check 200 POST /rust/echo "application/x-demo" -H "Content-Type: application/x-demo" -T "$dir/upload.bin"
    expect "the body came back as it was" cmp -s "$dir/upload.bin" "$dir/body"
    check 200 POST /rust/echo "chunk by chunk" -H "Transfer-Encoding: chunked" -d "chunk by chunk"
}

check_guestbook() {
    check 200 GET /django/ csrfmiddlewaretoken -c "$dir/cookies"
    check 302 POST /django/ "Location: /django/" "${form[@]}" \
        -d "csrfmiddlewaretoken=$(csrf_token)" -d name=Ada --data-urlencode "message=Written by curl"
    check 200 GET /django/ "Written by curl"
}

check_admin() {
    local login="/django/admin/login/?next=/django/admin/"
    check 200 GET "$login" csrfmiddlewaretoken -c "$dir/cookies"
    check 302 POST "$login" "Location: /django/admin/" "${form[@]}" \
        -d "csrfmiddlewaretoken=$(csrf_token)" -d username=demo -d password=demo
    check 200 GET /django/admin/ "Site administration" -b "$dir/cookies"
    check 200 GET /django/admin/guestbook/entry/ "Written by curl" -b "$dir/cookies"
}

# A browser's: the cookies both ways, and the Origin that Django holds against Host.
form=(-b "$dir/cookies" -c "$dir/cookies" -H "Origin: $url")

csrf_token() {
    sed -n 's/.*name="csrfmiddlewaretoken" value="\([^"]*\)".*/\1/p' "$dir/body" | head -n 1
}

# The line is written just after the answer.
answered_by_nginx_alone() {
    local deadline=$((SECONDS + 5)) line="200 GET $1 upstream=-"
    until grep -qxF "$line" "$dir/access.log" || ((SECONDS >= deadline)); do
        sleep 0.05
    done
    expect "nginx's log: $line" grep -qxF "$line" "$dir/access.log"
}
