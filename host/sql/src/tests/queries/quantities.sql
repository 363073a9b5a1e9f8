SELECT name, cpu_millis(spec.containers[0].resources.requests.cpu) AS millis, bytes(spec.containers[0].resources.requests.memory) AS memory FROM pods WHERE namespace = 'a';
SELECT name, spec.containers[0].resources.requests.cpu AS cpu, cpu_millis(spec.containers[0].resources.requests.cpu) AS millis FROM pods WHERE namespace = 'b';
SELECT name, quantity(status.capacity.memory) AS bytes FROM nodes ORDER BY quantity(status.capacity.memory) DESC;
SELECT sum(cpu_millis(spec.containers[0].resources.requests.cpu)) AS millis, sum(quantity(spec.containers[0].resources.requests.cpu)) AS cores FROM pods;
SELECT name FROM nodes WHERE bytes(status.capacity.memory) < bytes('2Gi');
SELECT cpu_millis('0.1n') AS up, quantity('-1Ki') AS negative, bytes(NULL) AS nothing, cpu_millis('x') AS wrong;
