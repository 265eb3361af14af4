#!/bin/sh
# Run once by the postgres image, for an empty volume: two roles, each the owner of a database of its own name.
set -eu

make_database() { # role, rights, password
    psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
        --set role="$1" --set password="$3" <<SQL
CREATE ROLE :"role" $2 PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
SQL
}

make_database prefect "LOGIN" "$PREFECT_DB_PASSWORD"
make_database heo "LOGIN CREATEROLE" "$HEO_DB_PASSWORD"
