# A CA and one certificate for the names in $1 ("DNS:a.test,DNS:b.test"), of the kind that certbot gets.
set -eu
mkdir -p /bench/tls
cd /bench/tls
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=bench CA' -keyout ca.key -out ca.pem \
    -addext 'basicConstraints=critical,CA:TRUE' 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=bench' \
    -CA ca.pem -CAkey ca.key -keyout key.pem -out cert.pem -addext "subjectAltName=$1" \
    -addext 'basicConstraints=critical,CA:FALSE' 2>/dev/null
