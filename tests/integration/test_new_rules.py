"""Rules that one process publishes are what another decides by, soon after; `make bench` says how soon."""

from tests.new_rules import measure

PUBLICATIONS = 3
FAR_TOO_LONG_SECONDS = 10  # it is a twentieth of that; a machine under load must not fail this


def see(seconds: list[float]) -> None:
    print(f"decided by new rules after {', '.join(f'{one:.3f}' for one in seconds)} s")
    assert len(seconds) == PUBLICATIONS
    assert all(one < FAR_TOO_LONG_SECONDS for one in seconds)


def test_another_process_decides_by_new_rules_on_sqlite() -> None:
    see(measure(PUBLICATIONS))


def test_another_process_decides_by_new_rules_on_postgresql(postgres: str) -> None:
    import psycopg

    address = postgres.replace("postgres://", "postgresql://")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE DATABASE new_rules")
    try:
        see(measure(PUBLICATIONS, store=postgres.rsplit("/", 1)[0] + "/new_rules"))
    finally:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("DROP DATABASE new_rules WITH (FORCE)")
