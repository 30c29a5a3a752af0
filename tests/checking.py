"""How annotations are executed in the tests: shapes and types of every call, an int being a float as PEP 484 has it."""

from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype

# Methods are checked one by one, so that none knows the class that its Self is.
check = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({Self: Any})))
