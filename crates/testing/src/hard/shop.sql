create schema "odd schema" authorization "app owner";
create schema extensions;
create schema big;
grant usage on schema "odd schema" to readers;
alter default privileges in schema "odd schema" grant select on tables to readers;

create type mood as enum ('sad', 'it''s ok', 'happy');
create domain positive as int check (value > 0);
create type pair as (a int, b text);

create sequence "strange seq" as bigint increment 7 start -3 minvalue -100 cycle;
select nextval('"strange seq"') from generate_series(1, 5);

create table customers (
    id int generated always as identity primary key,
    name text not null unique,
    mood mood default 'happy',
    since timestamptz not null,
    address pair,
    tags text[],
    facts jsonb,
    name_length int generated always as (length(name)) stored
);
insert into customers (name, mood, since, address, tags, facts)
select 'Ü "' || n || '" ''x''', (array['sad', 'it''s ok', 'happy'])[1 + n % 3]::mood,
       timestamptz '2001-01-01 00:00:00+00' + n * interval '1 hour 7 minutes', row(n, E'tab\there')::pair,
       array['a,b', '{}', null, n::text], jsonb_build_object('n', n, 'nested', jsonb_build_array(n, null, true))
from generate_series(1, :rows) n;
alter table customers owner to "app owner";

create table orders (
    id bigserial primary key,
    customer int not null references customers on delete cascade deferrable initially deferred,
    amount numeric(20, 7) not null,
    ratio double precision,
    quantity positive,
    note text,
    raw bytea
) with (fillfactor = 70);
insert into orders (customer, amount, ratio, quantity, note, raw)
select 1 + n % :rows, n * 1.0000001, case n % 4 when 0 then 'NaN' when 1 then '-Infinity' else n / 3.0 end,
       n, case when n % 5 > 0 then E'note\n' || md5(n::text) end, decode(md5(n::text), 'hex')
from generate_series(1, :rows * 3) n;
create index on orders (customer) include (amount);
create index on orders (lower(note)) where note is not null;
create index on orders using hash (amount);
create index on orders using brin (id);
create unique index "Unique Index" on orders (id, (amount::int % 10));
grant select (id, amount), update (note) on orders to readers;
alter table orders alter ratio set statistics 500;
-- Dead rows, so that pages hold more than what is seen.
update orders set note = note || '!' where id % 3 = 0;
delete from orders where id % 17 = 0;

alter table orders enable row level security;
create policy own on orders to readers using (customer % 2 = 0) with check (amount > 0);
alter table customers enable row level security;
alter table customers force row level security;
create policy everyone on customers for select using (true);

create table events (at timestamptz not null, kind text, payload text) partition by range (at);
create table events_2025 partition of events for values from ('2025-01-01') to ('2026-01-01')
    partition by list (kind);
create table events_2025_a partition of events_2025 for values in ('a', 'b');
create table events_2025_rest partition of events_2025 default;
create table "events 2026" partition of events for values from ('2026-01-01') to ('2027-01-01')
    tablespace "disk two";
create table events_never partition of events default;
insert into events
select timestamptz '2025-01-02 00:00:00+00' + n * interval '5 hours', chr(97 + n % 4), repeat('p', n % 50)
from generate_series(1, :rows) n;
create index on events (at, kind);

create table parent (a int, b text default 'from parent');
create table child (c int check (c <> 4)) inherits (parent);
insert into child (a, c) select n, n + 10 from generate_series(1, 50) n;

create unlogged table cache (key text primary key, value text);
insert into cache select n::text, md5(n::text) from generate_series(1, :rows) n;

create table empty_table (id int primary key, note text);
create table no_columns ();
insert into no_columns default values;
create table dropped_column (a int, b text, c int);
insert into dropped_column select n, 'gone', n * 2 from generate_series(1, 100) n;
alter table dropped_column drop column b;
alter table dropped_column add column d text default 'added later';

create table toasted (id int primary key, squeezed text, plain text);
alter table toasted alter plain set storage external;
insert into toasted
select n, repeat(md5(n::text), 5000), (select string_agg(md5((n * 1000 + k)::text), '') from generate_series(1, 400) k)
from generate_series(1, greatest(:rows / 50, 5)) n;

create table elsewhere (id int primary key using index tablespace "disk two", t text) tablespace "disk two";
insert into elsewhere select n, md5(n::text) from generate_series(1, :rows) n;

create table "Table ""with"" 'odd' name, ünï" ("Column ""x"" 'y'" int primary key, "select" text, "t" text);
insert into "Table ""with"" 'odd' name, ünï" select n, E'a\\b\t|\r\n' || n, '\N' from generate_series(1, 100) n;
comment on table "Table ""with"" 'odd' name, ünï" is E'a comment\nof ''two'' lines; -- and a half';
comment on column orders.note is 'the customer''s own words';
create table "odd schema"."same name" as select n as id from generate_series(1, 10) n;
create table "same name" as select n as id from generate_series(1, 20) n;

select lo_from_bytea(0, decode(repeat(md5(n::text), 2000), 'hex')) from generate_series(1, 20) n;
select lo_create(424242);
grant select on large object 424242 to readers;
comment on large object 424242 is 'an empty one';

create function doubled(n int, out twice int) language sql immutable as $body$ select n * 2 $body$;
create function stamp() returns trigger language plpgsql security definer set search_path = pg_catalog as $odd$
begin
    new.since := coalesce(new.since, timestamptz '2020-02-02 00:00:00+00'); -- $body$ inside
    return new;
end $odd$;
create trigger "stamp it" before insert on customers for each row execute function stamp();
create procedure nothing() language plpgsql as 'begin null; end';
create aggregate product(int) (sfunc = int4mul, stype = int, initcond = '1');
create index on customers (doubled(id));

create view spending with (security_barrier) as
    select c.name, sum(o.amount) as total from customers c join orders o on o.customer = c.id group by c.name;
create materialized view totals as select * from spending where total > 10;
create unique index on totals (name);
create materialized view never_filled as select * from spending with no data;
create rule quiet as on delete to empty_table do instead nothing;
create statistics orders_stats (dependencies) on customer, amount from orders;
create publication everything for all tables;
analyze;
