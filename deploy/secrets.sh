#!/bin/sh
# Makes what the nodes and PostgreSQL share, as files: the master key and the database's password.
# Nothing is ever replaced. Back up master.key, apart from the database: it opens every private key in there.
set -eu
folder=${1:?usage: secrets.sh FOLDER}
umask 077
mkdir -p "$folder"
cd "$folder"
for file in master.key database-password pgpass; do
    if [ -e "$file" ]; then
        echo "$folder/$file is there already, and is kept: remove the folder to make another service" >&2
        exit 1
    fi
done
echo '*' >.gitignore
openssl rand -base64 32 >master.key
openssl rand -hex 32 | tr -d '\n' >database-password
# HOST:PORT:DATABASE:USER:PASSWORD, as PostgreSQL's own clients read it.
printf 'postgres:5432:latchkey:latchkey:%s\n' "$(cat database-password)" >pgpass
