#!/bin/sh
# Makes the certificates of the tests anew: two authorities that do not know each other, a server's and a client's certificate from the
# first, an intruder's from the second. Valid from 2020 to 2120, so that a clock that is off does not matter.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

issue() { # name, issuer, subject alternative name or ""
    : > "$work/index.txt"
    rm -f "$work"/index.txt.*
    cat > "$work/ca.cnf" <<CNF
[ca]
default_ca = own
[own]
database = $work/index.txt
new_certs_dir = $work
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = extensions
[any]
commonName = supplied
[extensions]
$(if [ -n "$3" ]; then echo "subjectAltName = $3"; else echo "basicConstraints = critical,CA:TRUE"; fi)
CNF
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$work/$1.csr" 2>/dev/null
    if [ "$1" = "$2" ]; then self=-selfsign; else self="-cert $2.pem"; fi
    openssl ca -batch -notext -config "$work/ca.cnf" $self -keyfile "$2.key" -in "$work/$1.csr" -out "$1.pem" \
        -startdate 20200101000000Z -enddate 21200101000000Z 2>/dev/null
    chmod 644 "$1.key"
}

issue authority authority ''
issue stranger stranger ''
issue server authority 'DNS:localhost,IP:127.0.0.1'
issue client authority 'DNS:orchestrator.kefu.test,URI:spiffe://kefu.test/orchestrator'
issue intruder stranger 'DNS:orchestrator.kefu.test'
# Nothing else is to be issued by them.
rm -f authority.key stranger.key
