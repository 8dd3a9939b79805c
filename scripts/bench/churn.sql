-- A day's changes: all rows in 2 % of the tables' blocks, scattered, and a few new documents.
--
--   psql -v round=1 -f churn.sql        another round, other blocks (0 to 49)
--
-- Updated rows move to the end of their table, so that about 7 % of the pages change in all, and
-- nearly every mebibyte of the database has one that did.

\set ON_ERROR_STOP on
SET synchronous_commit = off;

UPDATE accounts SET balance = balance + 1 + :round, filler = md5(id::text || :round)
WHERE (hashint4(id / 61) & 2147483647) % 50 = :round % 50;

UPDATE documents
SET body = body || 'Revised ' || md5(id::text || :round) || '. ',
    meta = jsonb_set(meta, '{revision}', to_jsonb(:round))
WHERE (hashint4(id / 6) & 2147483647) % 50 = :round % 50;

INSERT INTO documents
SELECT (SELECT max(id) FROM documents) + row_number() OVER (), tenant, created, title, body, meta
FROM documents WHERE id % 500 = :round % 50;

CHECKPOINT;
