SELECT table_schema, table_name, kind, namespaced, preferred, listable, state, rows FROM kybern.kinds;
SELECT table_name, listable, watchable, state, reason FROM kybern.kinds WHERE NOT (listable AND watchable);
SELECT table_name, live, reason FROM kybern.watches;
SELECT count(*) FROM kybern.memory;
SELECT table_schema, table_name FROM information_schema.tables WHERE table_name LIKE 'p%';
SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'secrets' ORDER BY ordinal_position;
SELECT k.kind, p.name FROM kybern.kinds k JOIN pods p ON k.table_name = 'pods' WHERE p.namespace = 'b';
