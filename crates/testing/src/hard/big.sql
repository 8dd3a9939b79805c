-- Four rows fill a page of 8 KiB; the text is kept in the row and does not compress well.
create table big.relation (id bigint not null, filler text not null);
alter table big.relation alter filler set storage plain;
insert into big.relation
select n, (select string_agg(md5((n * 100 + k)::text), '') from generate_series(1, 60) k)
from generate_series(1, :big_rows) n;
create index on big.relation (id);
