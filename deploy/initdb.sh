#!/bin/sh
# Run once by the postgres image, for an empty volume: two databases, each with an owner of its name, and for `heo` two
# roles of people and programs that own nothing. A role reaches its own database only.
set -eu
: "${PREFECT_DB_PASSWORD:?}" "${HEO_DB_PASSWORD:?}" "${HEO_APP_PASSWORD:?}" "${HEO_READER_PASSWORD:?}"

# Passwords come from the environment, for a command line is no secret.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv prefect PREFECT_DB_PASSWORD
\getenv owner HEO_DB_PASSWORD
\getenv app HEO_APP_PASSWORD
\getenv reader HEO_READER_PASSWORD

CREATE ROLE prefect LOGIN PASSWORD :'prefect';
CREATE ROLE heo LOGIN PASSWORD :'owner';
CREATE ROLE heo_app LOGIN PASSWORD :'app';
CREATE ROLE heo_reader LOGIN PASSWORD :'reader';
-- What workers make, the tables of Optuna, is the owner's to dump and to drop, too.
GRANT heo_app TO heo;

CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE heo OWNER heo;
REVOKE ALL ON DATABASE postgres, prefect, heo FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE heo TO heo_app;
GRANT CONNECT ON DATABASE heo TO heo_reader;
SQL
