create table "t 1" (id int primary key, at timestamptz default now(), v text collate "C");
insert into "t 1" (id, at, v) select n, 'epoch', 'é' || n from generate_series(1, :rows) n;
create table referring (id int references "t 1" on update cascade, primary key (id));
insert into referring select id from "t 1" where id % 2 = 0;
create table back_home (id int) tablespace pg_default;
insert into back_home select generate_series(1, 10);
select lo_from_bytea(4711, 'the same oid may be used in two databases');
