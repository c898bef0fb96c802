-- Baïkal's account in PostgreSQL. It owns its own database and nothing else. PostgreSQL runs this once, on the empty volume.
-- The password is random, so more rounds of hashing would not protect it better, and would cost every request 3 ms.
SET scram_iterations = 1;
\set password `cat /run/secrets/database`
CREATE ROLE baikal LOGIN PASSWORD :'password';
CREATE DATABASE baikal OWNER baikal;
REVOKE ALL ON DATABASE baikal, postgres, template1 FROM PUBLIC;
