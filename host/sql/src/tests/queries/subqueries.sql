WITH busy AS (SELECT spec.nodeName AS node, count(*) AS pods FROM pods WHERE spec.nodeName IS NOT NULL GROUP BY spec.nodeName)
SELECT n.name, b.pods, n.spec.unschedulable FROM nodes n LEFT JOIN busy b ON b.node = n.name;
SELECT name FROM nodes WHERE name IN (SELECT spec.nodeName FROM pods WHERE namespace = 'b');
SELECT name FROM nodes WHERE name NOT IN (SELECT spec.nodeName FROM pods);
SELECT name FROM nodes WHERE name NOT IN (SELECT spec.nodeName FROM pods WHERE spec.nodeName IS NOT NULL);
SELECT namespace, name FROM deployments WHERE spec.replicas = (SELECT max(spec.replicas) FROM deployments);
SELECT a.namespace, a.name, (SELECT count(*) FROM pods p WHERE p.labels.app = a.name AND p.namespace = a.namespace) AS pods FROM apps a;
SELECT namespace, name FROM deployments d WHERE spec.replicas > (SELECT count(*) FROM pods p WHERE p.owner_uid = d.uid AND p.status.phase = 'Running');
SELECT x.app, x.n FROM (SELECT labels['app'] AS app, count(*) AS n FROM pods GROUP BY 1) x WHERE x.n > 1;
SELECT w.name, w.spec.replicas FROM (SELECT name, spec.replicas FROM deployments WHERE namespace = 'b') w;
WITH a AS (SELECT name FROM nodes), b AS (SELECT name FROM a WHERE name <> 'n1') SELECT count(*) AS all_of, (SELECT count(*) FROM b) AS some FROM a;
SELECT v.x, n.name FROM (VALUES ('n1', 1), ('n9', 2)) AS v(x, y) LEFT JOIN nodes n ON n.name = v.x;
SELECT name FROM nodes WHERE EXISTS (SELECT 1) AND name = ANY (SELECT spec.nodeName FROM pods);
SELECT 1 AS one, NULL AS nothing, 'x' || 'y' AS text, 1.5 AS float, true AS yes;
SELECT name FROM nodes WHERE false;
SELECT NULL = NULL AS eq, NULL IS NOT DISTINCT FROM NULL AS same, coalesce(NULL, 'x') AS c;
