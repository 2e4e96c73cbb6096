"""The checker of types and shapes that tests put behind the signatures of the library."""

from beartype import BeartypeConf, beartype

# A whole number is a float to a signature, as it is to Python.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
