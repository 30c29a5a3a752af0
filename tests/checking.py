"""How annotations are executed in the tests: shapes and types of every call, an int being a float as PEP 484 has it."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
