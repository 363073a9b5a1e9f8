SELECT a.namespace, a.name, d.spec.replicas AS wanted, d.status.readyReplicas AS ready
FROM apps a JOIN deployments d ON d.owner_uid = a.uid;
SELECT a.namespace, a.name, s.name AS service
FROM apps a LEFT JOIN services s ON s.namespace = a.namespace AND s.spec.selector.app = a.name
ORDER BY a.namespace, a.name DESC;
SELECT s.namespace, s.name FROM services s
WHERE NOT EXISTS (SELECT 1 FROM pods p WHERE p.namespace = s.namespace AND p.labels['app'] = s.spec.selector.app);
SELECT s.namespace, s.name FROM services s
WHERE EXISTS (SELECT 1 FROM pods p WHERE p.namespace = s.namespace AND p.labels['app'] = s.spec.selector.app AND p.status.phase = 'Running');
SELECT n.name, p.namespace, p.name AS pod FROM nodes n LEFT JOIN pods p ON p.spec.nodeName = n.name;
SELECT n.name AS node, p.name AS pod FROM pods p RIGHT JOIN nodes n ON p.spec.nodeName = n.name WHERE p.name IS NULL;
SELECT n.name AS node, p.name AS pod FROM pods p FULL JOIN nodes n ON p.spec.nodeName = n.name AND p.namespace = 'a' ORDER BY node NULLS FIRST, pod;
SELECT namespace, d.name, s.name AS service FROM deployments d JOIN services s USING (namespace, name);
SELECT a.namespace, a.name, count(p.uid) AS pods
FROM apps a
LEFT JOIN deployments d ON d.owner_uid = a.uid
LEFT JOIN pods p ON p.owner_uid = d.uid
GROUP BY a.namespace, a.name;
SELECT x.name, y.name AS other FROM apps x, apps y WHERE x.spec.from = y.spec.from AND x.uid < y.uid;
SELECT count(*) FROM nodes CROSS JOIN apps;
SELECT d.*, s.name AS s FROM (SELECT name, spec.replicas AS r FROM deployments WHERE namespace = 'a') d JOIN services s ON s.name = d.name AND s.namespace = 'a';
SELECT a.name, l.n FROM apps a, LATERAL (SELECT count(*) AS n FROM pods p WHERE p.labels.app = a.name AND p.namespace = a.namespace) l;
