"""The peers of `sql` that are asked from Python: DuckDB, SQLite and polars.

    python sql_peers.py SYSTEM FOLDER PODS ANSWERS MILLISECONDS

Reads FOLDER/{pods,deployments,nodes}.arrow and FOLDER/queries.json, answers each query for so many
answers or milliseconds, and says what it cost in one line of JSON, as tests/bench/src/sql does.
"""

import hashlib
import itertools
import json
import os
import sqlite3
import sys
import time

import pyarrow as pa

TABLES = ["pods", "deployments", "nodes"]
THREADS = 2
os.environ["POLARS_MAX_THREADS"] = str(THREADS)


def digest(rows):
    """As `digest` in answers.rs: texts of the rows, sorted."""
    lines = ["\x1f".join("\0" if cell is None else str(cell) for cell in row) for row in rows]
    # Rust sorts bytes.
    lines = sorted(line.encode() for line in lines)
    return len(lines), hashlib.sha256(b"\n".join(lines)).hexdigest()


def rows_of(table):
    return zip(*(column.to_pylist() for column in table.columns)) if table.num_rows else []


class Duckdb:
    """Asked for rows, not for Arrow: for answers of this size that takes it less time."""

    image = "json_extract_string(spec, '$.containers[0].image')"

    def __init__(self, tables):
        import duckdb

        self.connection = duckdb.connect()
        self.connection.execute(f"SET threads = {THREADS}")
        for name, table in tables.items():
            self.connection.register("loaded", table)
            self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM loaded")
            self.connection.unregister("loaded")
        self.connection.execute("CREATE INDEX pods_name ON pods (namespace, name)")
        self.connection.execute("CREATE INDEX pods_node ON pods (node)")
        self.connection.execute("CREATE INDEX pods_phase ON pods (phase)")
        self.connection.execute("CREATE INDEX deployments_name ON deployments (namespace, name)")
        self.connection.execute("CREATE INDEX nodes_name ON nodes (name)")

    def text(self, name, sql):
        return lambda: self.connection.execute(sql).fetchall()

    def point(self, sql):
        return lambda key: self.connection.execute(sql, key).fetchall()

    def rows(self, answer):
        return answer

    def count(self, answer):
        return len(answer)


class Sqlite:
    image = "json_extract(spec, '$.containers[0].image')"

    def __init__(self, tables):
        self.connection = sqlite3.connect(":memory:", cached_statements=256)
        for name, table in tables.items():
            types = ["INTEGER" if field.type == pa.int64() else "TEXT" for field in table.schema]
            columns = ", ".join(f"{n} {t}" for n, t in zip(table.column_names, types))
            marks = ", ".join("?" * len(types))
            self.connection.execute(f"CREATE TABLE {name} ({columns})")
            for batch in table.to_batches(max_chunksize=10_000):
                rows = rows_of(pa.table(batch))
                self.connection.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
        self.connection.execute("CREATE UNIQUE INDEX pods_name ON pods (namespace, name)")
        self.connection.execute("CREATE INDEX pods_node ON pods (node)")
        self.connection.execute("CREATE INDEX pods_owner ON pods (namespace, app)")
        self.connection.execute("CREATE INDEX pods_phase ON pods (phase)")
        self.connection.execute("CREATE UNIQUE INDEX deployments_name ON deployments (namespace, name)")
        self.connection.execute("CREATE UNIQUE INDEX nodes_name ON nodes (name)")
        self.connection.execute("ANALYZE")

    def text(self, name, sql):
        return lambda: self.connection.execute(sql).fetchall()

    def point(self, sql):
        sql = sql.replace("$", "?")
        return lambda key: self.connection.execute(sql, key).fetchall()

    def rows(self, answer):
        return answer

    def count(self, answer):
        return len(answer)


class Polars:
    """Plans that are built before the clock starts, optimised and run after it has."""

    image = ""

    def __init__(self, tables):
        import polars

        self.pl = polars
        frames = {name: polars.from_arrow(table).rechunk().lazy() for name, table in tables.items()}
        self.pods, self.deployments, self.nodes = (frames[name] for name in TABLES)

    def plan(self, name, sql):
        col = self.pl.col
        pods, deployments, nodes = self.pods, self.deployments, self.nodes
        if name == "q2":
            kept = pods.filter((col("phase") == "Failed") & (col("restarts") < 1))
            return kept.select("namespace", "name")
        if name == "q3":
            groups = pods.group_by("node").agg(
                self.pl.len().cast(self.pl.Int64).alias("pods"), col("cpu").sum().alias("total")
            )
            return groups.sort(["total", "node"], descending=[True, False]).head(20)
        if name == "q4":
            running = pods.filter(col("phase") == "Running").group_by("namespace", "app")
            running = running.agg(self.pl.len().cast(self.pl.Int64).alias("running"))
            joined = deployments.join(
                running, left_on=["namespace", "name"], right_on=["namespace", "app"], how="left"
            )
            joined = joined.with_columns(col("running").fill_null(0))
            joined = joined.filter(col("running") < col("replicas"))
            return joined.select("namespace", "name", "replicas", "running")
        if name == "q5":
            used = pods.group_by("node").agg(col("cpu").sum().alias("used"))
            joined = nodes.join(used, left_on="name", right_on="node", how="left")
            return joined.group_by("zone").agg(
                self.pl.len().cast(self.pl.Int64).alias("nodes"),
                (col("cpu").sum() - col("used").fill_null(0).sum()).alias("free"),
            )
        if name == "q6":
            image = col("spec").str.json_path_match("$.containers[0].image")
            return pods.filter(image == self.told["image"]).select("namespace", "name")
        if name == "q7":
            narrow = pods.select("namespace", "name", "restarts")
            narrow = narrow.sort(["restarts", "name"], descending=[True, False])
            return narrow.group_by("namespace").head(3)
        if name == "q8":
            ready = nodes.filter(col("ready") == "True")
            lonely = pods.join(ready, left_on="node", right_on="name", how="anti")
            return lonely.select("namespace", "name", "node")
        raise ValueError(name)

    def one(self, namespace, name):
        col = self.pl.col
        kept = self.pods.filter((col("namespace") == namespace) & (col("name") == name))
        return kept.select("namespace", "name", "node", "phase")

    def text(self, name, sql):
        if name == "q1":
            return self.one(*self.told["keys"][0]).collect
        return self.plan(name, sql).collect

    def rows(self, answer):
        return answer.rows()

    def count(self, answer):
        return answer.height


SYSTEMS = {"duckdb": Duckdb, "sqlite": Sqlite, "polars": Polars}


def timed(name, answers, seconds, ask):
    """As `timed` in answers.rs."""
    times = []
    began = time.perf_counter()
    for turn in itertools.count():
        passed = time.perf_counter() - began
        if len(times) >= answers and passed >= seconds / 20:
            break
        if passed >= seconds and times:
            break
        times.append(ask(turn))
    times.sort()
    at = lambda hundredths: times[len(times) * hundredths // 100] * 1e3
    p99 = at(99) if len(times) >= 1000 else None
    return {"name": name, "p50_ms": at(50), "p99_ms": p99, "answers": len(times), "rows": None, "digest": None}


def again(system, name, sql, answers, seconds):
    ask = system.text(name, sql)
    rows, hexadecimal = digest(system.rows(ask()))

    def one(_):
        began = time.perf_counter()
        ask()
        return time.perf_counter() - began

    return timed(name, answers, seconds, one) | {"rows": rows, "digest": hexadecimal}


def points(system, told, answers, seconds):
    ask = system.point(told["point"])
    keys = told["keys"]

    def prepared(turn):
        key = keys[turn % len(keys)]
        began = time.perf_counter()
        answer = ask(key)
        took = time.perf_counter() - began
        assert system.count(answer) == 1
        return took

    def new(turn):
        sql = literal(told["point"], keys[(turn + 1) % len(keys)])
        began = time.perf_counter()
        answer = system.text("q1", sql)()
        took = time.perf_counter() - began
        assert system.count(answer) == 1
        return took

    yield timed("q1_prepared", answers, seconds, prepared)
    yield timed("q1_new", answers, seconds, new)


def literal(sql, key):
    return sql.replace("$1", f"'{key[0]}'").replace("$2", f"'{key[1]}'")


def main():
    _, name, folder, _, answers, milliseconds = sys.argv
    answers, seconds = int(answers), int(milliseconds) / 1000
    with open(f"{folder}/queries.json", encoding="utf-8") as file:
        told = json.load(file)
    tables = {}
    for table in TABLES:
        with pa.memory_map(f"{folder}/{table}.arrow") as file:
            tables[table] = pa.ipc.open_file(file).read_all()
    system = SYSTEMS[name](tables)
    system.told = told
    cases = [again(system, "q1", literal(told["point"], told["keys"][0]), answers, seconds)]
    for query in told["queries"]:
        sql = query["columns"].replace("{image}", system.image)
        cases.append(again(system, query["name"], sql, answers, seconds))
    if hasattr(system, "point"):
        cases.extend(points(system, told, answers, seconds))
    print(json.dumps({"cases": cases, "notes": []}))


main()
