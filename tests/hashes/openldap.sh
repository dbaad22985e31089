#!/usr/bin/env bash
# openldap.sh FOLDER: lays OpenLDAP's slappasswd, with its modules and libraries, below the folder, from Debian's
# packages. They are unpacked and not installed, for an installed slapd starts to serve.
set -euo pipefail
folder=$1
[[ ! -x $folder/usr/sbin/slappasswd ]] || exit 0
mkdir -p "$folder/packages"
cd "$folder/packages"
mapfile -t libraries < <(apt-cache depends --no-recommends --no-suggests slapd slapd-contrib | awk '$1 == "Depends:" && $2 ~ /^lib(ldap|ltdl|odbc|wrap|sasl2-2|argon2|crypt)/ { print $2 }' | sort -u)
apt-get download --quiet slapd slapd-contrib "${libraries[@]}"
for package in *.deb; do
    dpkg-deb -x "$package" "$folder"
done
