create role "app owner" login password 'S3cret ''pass\word' connection limit 50;
create role readers nologin;
create role "o'reader" login in role readers valid until '2099-01-01 00:00:00+00';
create role auditor nologin bypassrls;
grant auditor to "o'reader" with admin option;
alter role "app owner" set work_mem = '8MB';
comment on role readers is 'may look, and touch nothing';

create database shop owner "app owner";
create database "Ünï ""quoted"" 'name' & more" tablespace "disk two" connection limit 20;
create database empty;
alter database shop set timezone = 'Asia/Kathmandu';
alter role "o'reader" in database shop set search_path = 'odd schema', public;
comment on database shop is E'line one\nline ''two''';
revoke connect on database empty from public;
grant connect on database empty to readers;
