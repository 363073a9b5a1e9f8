EXPLAIN SELECT name, spec.replicas FROM deployments WHERE namespace = 'a' AND name = 'shop' AND spec.replicas > 1;
EXPLAIN SELECT p.name FROM pods p JOIN nodes n ON n.name = p.spec.nodeName WHERE n.spec.unschedulable;
EXPLAIN SELECT count(*) FROM pods WHERE spec.nodeName = 'n1' OR spec.nodeName = 'n2';
EXPLAIN SELECT name FROM pods WHERE labels['app'] IN ('shop', 'blog', 'a', 'b', 'c') LIMIT 2;
