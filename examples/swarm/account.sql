-- Baïkal's account in PostgreSQL, the owner of its own database and of nothing else; made once, with the empty volume.
-- The password is random: many rounds of hashing would protect nothing more, and cost every request 3 ms.
SET scram_iterations = 1;
\set password `cat /run/secrets/database`
CREATE ROLE baikal LOGIN PASSWORD :'password';
CREATE DATABASE baikal OWNER baikal;
REVOKE ALL ON DATABASE baikal, postgres, template1 FROM PUBLIC;
