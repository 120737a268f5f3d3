"""The faults of `make mutate` are programs, and each changes one expression."""

import ast

import pytest

import mutate


@pytest.mark.parametrize(
    "source, changed",
    [
        ("a < b", {"a <= b"}),
        ("a + b", {"a - b", "a"}),
        ("a ** b", {"a * b"}),
        ("-a", {"a"}),
        ("a and b", {"a or b"}),
        ("True", {"False"}),
        ("2", {"3"}),
        ("0.0", {"1.0"}),
        ("jnp.where(a, b, c)", {"jnp.where(a, c, b)"}),
        ("jnp.any(a)", {"jnp.all(a)"}),
        ("jnp.log1p(a)", {"jnp.log(a)"}),
        ("f(a)", set()),
        ("'text'", set()),
    ],
)
def test_an_expression_has_its_faults(source, changed):
    node = ast.parse(source, mode="eval").body
    assert {ast.unparse(new) for new in mutate.changes(node)} == changed


def test_faults_of_the_library_are_programs_that_differ():
    chosen = mutate.sample(0, 50, "scoring")
    assert chosen == mutate.sample(0, 50, "scoring") != mutate.sample(1, 50, "scoring")
    for mutant in chosen:
        source = (mutate.ROOT / mutant.path).read_text()
        faulty = mutant.applied(source)
        assert ast.dump(ast.parse(faulty)) != ast.dump(ast.parse(source))


def test_faults_without_effect_are_told_by_lines_that_are_there():
    for path, line, old, _ in mutate.without_effect():
        lines = [one.strip() for one in (mutate.ROOT / path).read_text().splitlines()]
        assert line in lines, (path, line)
        assert old.split()[0] in line, (path, line, old)
