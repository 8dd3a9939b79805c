-- A database like many others: a table of accounts that compresses well, documents of text and
-- jsonb that compress by half, and images that do not compress at all. The same on every run.
--
--   psql -v accounts=20000000 -v documents=1000000 -v images=17000 -f database.sql
--
-- About 150 bytes an account, 1.2 KiB a document, 16 KiB an image; indexes included.

\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET synchronous_commit = off;
-- Several workers would draw the random numbers in another order each time.
SET max_parallel_workers_per_gather = 0;
SELECT setseed(0.42) \g /dev/null

CREATE TABLE accounts (id int, branch int, balance int, filler char(84));
INSERT INTO accounts
SELECT n, n / 100000, 0, '' FROM generate_series(1, :accounts) AS n;

CREATE TABLE images (id int, data bytea);
ALTER TABLE images ALTER data SET STORAGE EXTERNAL;
INSERT INTO images
SELECT n, (SELECT string_agg(sha256((n::text || ':' || part)::bytea), NULL)
           FROM generate_series(1, 512) AS part)
FROM generate_series(1, :images) AS n;

CREATE TABLE documents (
    id int, tenant int, created timestamptz, title text, body text, meta jsonb
);
SELECT set_config('bench.documents', :'documents', false) \g /dev/null

-- Words are frequent as in a language (Zipf's law), and about half of the sentences recur.
DO $$
DECLARE
    syllables text[] := string_to_array(
        'ba ke lo mi ru ta ne so vi du pa le ro ni gu sha ten lor mun rik des pan vel tor kin '
        'ast und ing ers ive ant ock eld ish omb ump arn ost ent ick', ' ');
    statuses text[] := ARRAY['published', 'draft', 'archived', 'review'];
    languages text[] := ARRAY['en', 'de', 'fr', 'es', 'it'];
    words text[];
    sentences text[];
    word text;
    body text;
    etag text;
    wanted int;
BEGIN
    FOR i IN 1 .. 30000 LOOP
        word := '';
        FOR part IN 1 .. 1 + i % 3 + (i / 3000) % 2 LOOP
            word := word || syllables[1 + floor(random() * 40)::int];
        END LOOP;
        words[i] := word;
    END LOOP;
    FOR i IN 1 .. 50000 LOOP
        body := initcap(words[floor(30000 ^ random())::int]);
        FOR part IN 1 .. 5 + floor(random() * 13)::int LOOP
            body := body || ' ' || words[floor(30000 ^ random())::int];
        END LOOP;
        sentences[i] := body || '. ';
    END LOOP;
    FOR i IN 1 .. current_setting('bench.documents')::int LOOP
        body := '';
        wanted := 200 + floor(random() * 1000)::int;
        WHILE length(body) < wanted LOOP
            body := body || sentences[CASE WHEN random() < 0.5
                THEN 1 + floor(random() * 6000)::int
                ELSE 6001 + floor(random() * 44000)::int END];
        END LOOP;
        etag := md5(i::text);
        INSERT INTO documents VALUES (
            i, floor(random() * 500)::int,
            timestamptz '2026-01-01 00:00+00' + random() * interval '300 days',
            rtrim(sentences[6001 + floor(random() * 44000)::int]), body,
            jsonb_build_object(
                'source', 's3://bucket-' || i % 8 || '/raw/' || left(etag, 12) || '.json',
                'status', statuses[1 + floor(random() * 4)::int],
                'lang', languages[1 + floor(random() * 5)::int],
                'score', round(random()::numeric, 6),
                'owner', floor(random() * 50000)::int,
                'tags', ARRAY[words[floor(30000 ^ random())::int], words[1 + i % 30000]],
                'etag', etag));
    END LOOP;
END
$$;

ALTER TABLE accounts ADD PRIMARY KEY (id);
ALTER TABLE images ADD PRIMARY KEY (id);
ALTER TABLE documents ADD PRIMARY KEY (id);
CREATE INDEX ON documents (tenant, created);
VACUUM (FREEZE, ANALYZE);
CHECKPOINT;
